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
