{{/* Resources are named RELEASE-vibevoice-PART, or RELEASE-PART if the release name contains the chart's. */}}
{{- define "vibevoice.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a part. Takes (list $ PART). */}}
{{- define "vibevoice.selector" -}}
app.kubernetes.io/name: vibevoice
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Name and labels of a resource. Takes (list $ PART). */}}
{{- define "vibevoice.metadata" -}}
name: {{ include "vibevoice.fullname" (index . 0) }}-{{ index . 1 }}
labels:
  {{- include "vibevoice.labels" . | nindent 2 }}
{{- end -}}

{{- define "vibevoice.labels" -}}
{{ include "vibevoice.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end -}}

{{/* Takes (list $ NAME). */}}
{{- define "vibevoice.image" -}}
{{- $root := index . 0 -}}
image: {{ printf "%svibevoice-%s:%s" $root.Values.registry (index . 1) (default $root.Chart.AppVersion $root.Values.tag) | quote }}
imagePullPolicy: {{ $root.Values.pullPolicy }}
{{- end -}}

{{/* A value as text. Helm parses numbers as floats, which it would print with an exponent. */}}
{{- define "vibevoice.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Environment variables. Takes (list DICT EXTRA). */}}
{{- define "vibevoice.env" -}}
{{- range $name, $value := index . 0 -}}
- {name: {{ $name }}, value: {{ include "vibevoice.text" $value | quote }}}
{{ end -}}
{{- with index . 1 -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "vibevoice.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* What all pods have. Takes (list $ PART). */}}
{{- define "vibevoice.pod" -}}
{{- $root := index . 0 -}}
automountServiceAccountToken: false
# A service named `asr` or `api` would set ASR_PORT or API_PORT to an address.
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with index $root.Values (index . 1) }}
{{- with .pod }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "vibevoice.modelsClaim" -}}
{{- .Values.models.existingClaim | default (printf "%s-models" (include "vibevoice.fullname" .)) -}}
{{- end -}}

{{/* Seconds before SIGTERM in which the pod is removed from its service. */}}
{{- define "vibevoice.drainSeconds" -}}5{{- end -}}

{{- define "vibevoice.service" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "vibevoice.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "vibevoice.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ index . 2 }}, targetPort: http}
---
# A node drain evicts one pod at a time.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "vibevoice.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "vibevoice.selector" . | nindent 6 }}
{{- end -}}
