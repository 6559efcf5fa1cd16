"""The colours of everything that is drawn for a browser: one set of names, with values for light and dark.

Decides colours only. Okabe and Ito's colour-blind-safe palette, those that bear text darkened (on light) or
lightened (on dark) to a contrast of 4.5:1.
"""

LIGHT = """
--paper:#fff;--wash:#f6f6f4;--ink:#1c2024;--muted:#5f6670;--hair:#d8dbe0;
--out:#bf4a00;--errors:#0072b2;--ok:#007a59;--cut:#e69f00;--cut-text:#8a5a00;--paused:#9c5b86;
"""

DARK = """
--paper:#16181b;--wash:#1f2226;--ink:#e8e8e4;--muted:#9da4ad;--hair:#363b42;
--out:#f58a4b;--errors:#5cb8ee;--ok:#3ccc9f;--cut:#e6a93a;--cut-text:#e6b65c;--paused:#cf8fb9;
"""
