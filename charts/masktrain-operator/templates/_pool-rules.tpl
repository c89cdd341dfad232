{{/* Every right that node pools take, of the operator and of the sweeper: one line for each request of their code. */}}
{{- define "masktrain-operator.poolRules" -}}
- apiGroups: [masktrain.dev]
  resources: [gpunodepools]
  verbs: [get, list, watch, patch]
- apiGroups: [masktrain.dev]
  resources: [gpunodepools/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch, patch]
# Whoever's pod asks for a GPU keeps its node.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# What a GPUNodePool's allowedNamespaces selects by.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
- apiGroups: [scheduling.k8s.io]
  resources: [priorityclasses]
  verbs: [list, watch]
{{- end -}}

{{- define "masktrain-operator.sweeperRules" -}}
- apiGroups: [masktrain.dev]
  resources: [gpunodepools]
  verbs: [get, list]
- apiGroups: [masktrain.dev]
  resources: [gpunodepools/status]
  verbs: [patch]
- apiGroups: [masktrain.dev]
  resources: [masktrainingjobs]
  verbs: [list]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list]
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end -}}

{{/* In the namespace of the release. A Secret of a GPUNodePool is read by name, never listed. */}}
{{- define "masktrain-operator.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end -}}

{{/* The sign of life. What does not exist yet cannot be named. */}}
{{- define "masktrain-operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [masktrain-operator]
  verbs: [patch]
{{- end -}}

{{- define "masktrain-operator.leaseReadRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [masktrain-operator]
  verbs: [get]
{{- end -}}

{{/* In namespace default, where the events of what is in no namespace are. */}}
{{- define "masktrain-operator.poolEventRules" -}}
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{/* What `helm test` looks at, and nothing that it could change. */}}
{{- define "masktrain-operator.doctorRules" -}}
- apiGroups: [masktrain.dev]
  resources: [gpunodepools, masktrainingjobs]
  verbs: [list]
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
# Who shows GPUs to Kubernetes.
- apiGroups: [apps]
  resources: [daemonsets]
  verbs: [list]
{{- end -}}

{{/* Only what is named: with such a key whoever holds it is the operator at Oracle. */}}
{{- define "masktrain-operator.doctorSecretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    {{- toYaml .Values.doctor.secrets | nindent 4 }}
  verbs: [get]
{{- end -}}

{{/* A role and its binding. Takes root, name, account, rules, annotations if any, and a namespace or "" for the whole
cluster. */}}
{{- define "masktrain-operator.boundRole" -}}
{{- $kind := ternary "ClusterRole" "Role" (empty .namespace) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "masktrain-operator.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "masktrain-operator.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
