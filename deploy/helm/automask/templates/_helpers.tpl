{{- define "automask.name" -}}
{{- $name := contains "automask" .Release.Name | ternary .Release.Name (printf "%s-automask" .Release.Name) }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "automask.selector" -}}
app.kubernetes.io/name: automask
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "automask.labels" -}}
{{ include "automask.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "automask.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "automask.databaseSecret" -}}
{{ .Values.database.existingSecret | default (printf "%s-database" (include "automask.name" .)) }}
{{- end }}

{{- define "automask.tlsSecret" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "automask.name" .)) }}
{{- end }}

{{/* Values that must restart pods, but are not in their manifests. */}}
{{- define "automask.checksums" -}}
checksum/config: {{ include (print .Template.BasePath "/configmap.yaml") . | sha256sum }}
checksum/secrets: {{ include (print .Template.BasePath "/secrets.yaml") . | sha256sum }}
{{- end }}

{{- define "automask.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "automask.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Settings of plain and of Ray pods. */}}
{{- define "automask.env" -}}
- {name: AUTOMASK_CONFIG, value: /etc/automask/automask.toml}
- {name: AUTOMASK_DRAIN, value: {{ .Values.drain | quote }}}
- {name: AUTOMASK_MODEL, value: {{ join "," .Values.models.names | quote }}}
{{- if .Values.gpu.enabled }}
- {name: AUTOMASK_DEVICE, value: cuda}
{{- else if eq .Values.engine "plain" }}
- name: AUTOMASK_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
- name: AUTOMASK_WORKERS
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
{{- end }}
- name: AUTOMASK_STORE
  valueFrom: {secretKeyRef: {name: {{ include "automask.databaseSecret" . }}, key: url}}
{{- if .Values.keys.enabled }}
- name: AUTOMASK_KEYS
  valueFrom: {secretKeyRef: {name: {{ include "automask.databaseSecret" . }}, key: url}}
{{- end }}
{{- with .Values.media }}
- {name: AUTOMASK_MEDIA, value: {{ . | quote }}}
{{- end }}
{{- with .Values.http.publicUrl }}
- {name: AUTOMASK_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- if and .Values.http.enabled (or .Values.http.allowedHosts (not .Values.keys.enabled)) }}
{{- $service := include "automask.name" . }}
{{- $namespaced := printf "%s.%s" $service .Release.Namespace }}
{{- $own := list $service $namespaced (print $namespaced ".svc") (print $namespaced ".svc.cluster.local") }}
- {name: AUTOMASK_ALLOWED_HOSTS, value: {{ concat $own .Values.http.allowedHosts | join "," | quote }}}
{{- end }}
{{- end }}

{{- define "automask.mounts" -}}
- {name: config, mountPath: /etc/automask, readOnly: true}
- {name: state, mountPath: /var/lib/automask}
{{- if .Values.models.volume }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- end }}

{{- define "automask.volumes" -}}
- name: config
  configMap: {name: {{ include "automask.name" . }}}
- name: state
  emptyDir: {}
{{- with .Values.models.volume }}
- name: models
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "automask.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if .Values.gpu.enabled }}
{{- $_ := set $resources "limits" (mergeOverwrite (dict "nvidia.com/gpu" 1) ($resources.limits | default dict)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{/* Number of worker pods for a number of replicas. */}}
{{- define "automask.rayPods" -}}
{{- $values := (first .).Values }}
{{- $values.gpu.enabled | ternary (ceil (mulf (last .) $values.ray.replicaGpus)) (last .) | int }}
{{- end }}

{{/* Placement of serving pods: selected nodes, spread evenly. */}}
{{- define "automask.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .Values.tolerations .Values.gpu.enabled }}
tolerations:
  {{- if .Values.gpu.enabled }}
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  {{- end }}
  {{- with .Values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- if and .Values.gpu.enabled .Values.gpu.runtimeClassName }}
runtimeClassName: {{ .Values.gpu.runtimeClassName }}
{{- end }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "automask.selector" $ | nindent 8 }}
        app.kubernetes.io/component: serving
  {{- end }}
{{- end }}
