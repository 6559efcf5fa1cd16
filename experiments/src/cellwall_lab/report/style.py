"""The report's style sheet, as one constant, because the page must carry everything it needs.

Decides type and spacing, and which of the palette's values stand behind the colour variables that `canvas`
draws with: in light, in dark and on paper. Loads nothing: no font, no picture, no other sheet.
"""

from ..palette import DARK, LIGHT

_SHEET = """
:root{color-scheme:light dark;LIGHT}
@media (prefers-color-scheme:dark){:root{DARK}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;padding:2.2rem 1.25rem 4rem}
h1{font-size:clamp(1.7rem,4.6vw,2.5rem);line-height:1.12;letter-spacing:-.018em;margin:.15rem 0 .7rem;
text-wrap:balance}
h2{font-size:1.3rem;line-height:1.25;letter-spacing:-.01em;margin:3.2rem 0 .35rem;padding-top:.9rem;
border-top:1px solid var(--hair)}
h3{font-size:1rem;margin:1.5rem 0 .3rem}
p{margin:.45rem 0;max-width:46rem}
a{color:inherit;text-decoration-color:var(--hair);text-underline-offset:.2em}
.over{color:var(--muted);font-size:.86rem;margin:0}
.answer{font-size:clamp(1.08rem,2.6vw,1.32rem);line-height:1.42;max-width:44rem;text-wrap:pretty}
.question{color:var(--muted);margin:0 0 .5rem}
.note{color:var(--muted);font-size:.9rem}
.note b{font-weight:600;color:var(--ink)}
.chips{display:flex;flex-wrap:wrap;gap:.5rem;margin:1.1rem 0 0;padding:0;list-style:none}
.chip{display:inline-flex;align-items:baseline;gap:.45em;border:1px solid var(--hair);border-radius:.4rem;
padding:.18rem .6rem;font-size:.88rem;text-decoration:none}
.chip.whole{font-weight:650;border-color:currentColor}
.held{--tone:var(--ok)}.broken{--tone:var(--out)}.unknown{--tone:var(--muted)}
.mark{color:var(--tone);font-weight:650;white-space:nowrap}
.chip.whole{color:var(--tone)}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.3rem 1.9rem;
margin-top:.9rem}
.grid.one{max-width:38rem}
.grid>figure{display:grid;grid-template-rows:subgrid;grid-row:span 2;gap:.2rem;align-content:start}
.glance{display:flex;flex-wrap:wrap;gap:1rem 2.4rem;align-items:flex-start;margin-top:1.9rem}
.glance>figure{flex:1 1 19rem;max-width:28rem}.glance>.wide{flex:2 1 38rem;margin:0;min-width:0}
figure{margin:0;min-width:0;break-inside:avoid}
figcaption{font-size:.88rem;line-height:1.4;margin-bottom:.15rem;align-self:end}
figcaption b{font-weight:650}
figcaption>span{color:var(--muted)}
svg{display:block;width:100%;height:auto}
svg text{paint-order:stroke;stroke:var(--paper);stroke-width:2.2px;stroke-linejoin:round;font-family:inherit}
.none{color:var(--muted);border-left:3px solid var(--hair);padding:.4rem .8rem;font-size:.9rem}
.story{display:grid;grid-template-columns:minmax(5.5rem,auto) 1fr;gap:.1rem 1.2rem;max-width:52rem;
margin:.8rem 0 0}
.story dt{color:var(--muted);font-size:.86rem;padding-top:.52rem;white-space:nowrap}
.story dt b{display:block;color:var(--ink);font-weight:650;font-size:.95rem}
.story dd{margin:0;padding:.42rem 0 .5rem;border-bottom:1px solid var(--hair)}
.story dd small{display:block;color:var(--muted);font-size:.84rem;margin-top:.15rem}
.wide{overflow-x:auto;-webkit-overflow-scrolling:touch;margin:.7rem 0 0}
table{border-collapse:collapse;font-size:.88rem;line-height:1.4;min-width:100%}
th,td{text-align:left;vertical-align:top;padding:.42rem 1rem .42rem 0;border-bottom:1px solid var(--hair)}
th{color:var(--muted);font-weight:500;white-space:nowrap}
tbody th{color:var(--ink);font-weight:650}
td.n,th.n{text-align:right;white-space:nowrap}
td.long{min-width:15rem}td.s,td.mark{white-space:nowrap}td.mark{padding-right:1rem}
td small{display:block;color:var(--muted);font-size:.92em}
code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--wash);padding:.7rem .9rem;border-radius:.4rem;overflow-x:auto;margin:.6rem 0}
.key{display:inline-block;white-space:nowrap;margin-right:1.1em}
.key i{display:inline-block;width:.85em;height:.85em;border-radius:2px;vertical-align:-.08em;margin-right:.4em}
figcaption .key{font-weight:650;margin-right:.6em}figcaption .key i{background:currentColor}
.key.line i{height:2px;vertical-align:.28em;width:1.1em}
.key.area i{opacity:.55;border-top:2px solid currentColor}
.key.dot i{width:.5em;height:.5em;border-radius:50%;vertical-align:.1em}
@media (max-width:560px){main{padding:1.2rem 1rem 3rem}.story{grid-template-columns:1fr;gap:0}
.story dt{padding-top:.8rem}.story dt b{display:inline;margin-right:.5em}
.story dd{padding-top:.1rem}h2{margin-top:2.4rem}}
@media print{:root{color-scheme:light;LIGHT}body{font-size:10.5pt}main{max-width:none;padding:0}
h2{margin-top:1.6rem;break-after:avoid}h3{break-after:avoid}.grid{grid-template-columns:1fr 1fr;
gap:.8rem 1.2rem}.grid.one{grid-template-columns:1fr}
.wide{overflow:visible}td.long{min-width:0}td.s{white-space:normal}
tr,figure,.story dd{break-inside:avoid}table{font-size:8.5pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}pre{white-space:pre-wrap}}
"""

CSS = _SHEET.replace("LIGHT", LIGHT.strip()).replace("DARK", DARK.strip())
