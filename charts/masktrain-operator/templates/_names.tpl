{{- define "masktrain-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "masktrain-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "masktrain-operator.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false." .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "masktrain-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* NetworkPolicyPeers that may ask trainer pods for their progress: the operator first. */ -}}
{{- define "masktrain-operator.progressClients" -}}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) -}}
{{- $pods := dict "matchLabels" (include "masktrain-operator.selectorLabels" . | fromYaml) -}}
{{- $operator := dict "namespaceSelector" $namespace "podSelector" $pods -}}
{{- prepend .Values.jobNetworkPolicy.progressFrom $operator | toJson -}}
{{- end -}}

{{- define "masktrain-operator.labels" -}}
{{ include "masktrain-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "masktrain-operator.image" -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}

{{- define "masktrain-operator.poolRightsName" -}}
{{ include "masktrain-operator.name" . }}-node-pools
{{- end -}}

{{- define "masktrain-operator.sweeperName" -}}
{{ include "masktrain-operator.name" . }}-sweeper
{{- end -}}

{{- /* What the operator and the sweeper need for Oracle's API and for their Lease. */ -}}
{{- define "masktrain-operator.cloudEnvironment" -}}
- name: MASKTRAIN_OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.oci.endpoint }}
- name: MASKTRAIN_OPERATOR_OCI_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* The ServiceAccounts that Oracle's policies have to name, the operator's first. */ -}}
{{- define "masktrain-operator.oraclesAccounts" -}}
{{ include "masktrain-operator.serviceAccountName" . }}
{{- if .Values.sweeper.enabled }},{{ include "masktrain-operator.sweeperName" . }}{{ end }}
{{- end -}}
