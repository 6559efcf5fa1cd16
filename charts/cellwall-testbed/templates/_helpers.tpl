{{/* What every template of this chart shares: the world's names, labels, images, security contexts, the two specs. */}}

{{/* Labels of an object: (list $ "frontend"). The instance is the world's name, as on what the operator makes. */}}
{{- define "testbed.labels" -}}
{{- $top := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version | replace "+" "_" }}
{{ include "testbed.selectorLabels" . }}
{{- if ne (index . 1) "monitoring" }}
app.kubernetes.io/part-of: cellwall # what the operator keeps in its cache
{{- end }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
cellwall.dev/service: {{ $top.Values.service.name }}
{{- end }}

{{- define "testbed.selectorLabels" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: cellwall
app.kubernetes.io/instance: {{ $top.Values.service.name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "testbed.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "testbed.frontend" -}}
{{ .Values.service.name }}-frontend
{{- end }}

{{/* The fleet's whole spec: it belongs to the service. */}}
{{- define "testbed.fleetSpec" -}}
{{ set (deepCopy .Values.fleet.spec) "service" .Values.service.name | toJson }}
{{- end }}

{{/* cellwall.arrivals.LoadConfig */}}
{{- define "testbed.loadConfig" -}}
{{ dict
  "endpoint" (printf "http://%s:8000" (include "testbed.frontend" .))
  "seed" (ternary .Values.service.spec.seed 1 (hasKey .Values.service.spec "seed") | int64)
  "load" .Values.load.spec
  "catalogue_path" "/catalogue/catalogue.json"
  "control_path" "/control/load-control.json"
  "records" "/dev/stdout"
  "metrics_listen" "0.0.0.0:9100"
| toJson }}
{{- end }}

{{/* What all pods of the chart have alike, and what the restricted pod security standard asks of them. */}}
{{- define "testbed.pod" -}}
automountServiceAccountToken: false # nothing here calls the API
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all containers have alike: (list $ (list …env of its own…)). */}}
{{- define "testbed.container" -}}
{{- $top := index . 0 -}}
image: {{ include "testbed.image" $top }}
imagePullPolicy: {{ $top.Values.image.pullPolicy }}
{{- with concat (index . 1) $top.Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
