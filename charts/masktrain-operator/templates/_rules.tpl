{{/* Every right of the operator: one line for each request that its code makes. */}}
{{- define "masktrain-operator.rules" -}}
- apiGroups: [masktrain.dev]
  resources: [masktrainingjobs]
  verbs: [get, list, watch]
- apiGroups: [masktrain.dev]
  resources: [masktrainingjobs/status]
  verbs: [patch]
# Clusters that enforce it ask for this before an owner reference may block the owner's deletion.
- apiGroups: [masktrain.dev]
  resources: [masktrainingjobs/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
{{- if .Values.nodePools.enabled }}
# Before nodes come for a gang its first pod is created with dryRun=All, which takes the right to create it, and the
# quotas are asked about all of it. Who may create Jobs can create the same pods: the right adds no power.
- apiGroups: [""]
  resources: [pods]
  verbs: [create]
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [list]
{{- end }}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.jobNetworkPolicy.enabled }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}
