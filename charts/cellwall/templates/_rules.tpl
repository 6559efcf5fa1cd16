{{/*
Every verb the operator uses, and why. The same rules are a ClusterRole, or a Role in each watched namespace.
What it makes goes with its owner, by the garbage collector's rights: the operator itself deletes cells only. Watching
is limited to labelled objects, which rights cannot say. No rule is about Secrets, or could raise rights.
*/}}
{{- define "cellwall.rules" -}}
# What users ask for.
- apiGroups: [cellwall.dev]
  resources: [metadataservices, storagefleets]
  verbs: [list, watch]
# Made by their service and removed with a smaller one; get: who was faster when a creation is refused.
- apiGroups: [cellwall.dev]
  resources: [metadatacells]
  verbs: [get, list, watch, create, patch, delete]
# Conditions and figures, by server-side apply.
- apiGroups: [cellwall.dev]
  resources: [metadataservices/status, metadatacells/status, storagefleets/status]
  verbs: [patch]
# Owner references that block deletion ask for this where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [cellwall.dev]
  resources: [metadataservices/finalizers, metadatacells/finalizers, storagefleets/finalizers]
  verbs: [update]
# Nodes; stores and storage servers.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch, create, patch]
# Doors for renewals and administration; stores and storage servers by name.
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch]
# The map, and settings of nodes and hosts; get as for cells.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
# Filling the stores once; get as for cells.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch]
# One voluntary loss at a time, in cells and in fleets.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
# Who has started, joined, follows which map; patch: the annotation that makes kubelets sync the map at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# The readiness gate cellwall.dev/joined.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
# A node's CPU limit after its start, and whenever its share changes, without a restart.
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
# What happened, for kubectl describe; patch: how often.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
