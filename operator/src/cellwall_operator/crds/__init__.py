"""The CustomResourceDefinitions, generated from the typed resources of the core.

`schema` makes a structural schema of a type, `rules` says what a schema alone cannot, `definitions` makes the objects,
`chart` their files; `python -m cellwall_operator.crds` prints or writes. Nothing here is imported by a running operator
except `definitions.fingerprint`.
"""
