{{/*
Every verb the operator uses, and why. The same rules are a ClusterRole, or a Role in each watched namespace.
There is no rule about Secrets, nodes, or anything that could raise rights.
*/}}
{{- define "cellwall.rules" -}}
# What users ask for. Cells are made, changed and removed by their service; the other two are only read.
- apiGroups: [cellwall.dev]
  resources: [metadataservices, storagefleets]
  verbs: [get, list, watch]
- apiGroups: [cellwall.dev]
  resources: [metadatacells]
  verbs: [get, list, watch, create, patch, delete]
# Conditions and figures, written by server-side apply.
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
  verbs: [get, list, watch, create, patch, delete]
# The map, nodes' and hosts' settings; renewals, administration, stores and storage servers by name.
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
# Filling the stores once.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# One voluntary loss at a time, in cells and in fleets.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Who has joined, started, follows which map; patch: the annotation that makes kubelets sync the map at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# The readiness gate cellwall.dev/joined.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
# A node's CPU limit after its start, and when its share changes, without a restart.
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
# What happened, for kubectl describe.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
