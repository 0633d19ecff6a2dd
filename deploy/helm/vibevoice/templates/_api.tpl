{{/* A deployment of the API with its service. Takes (list $ PART), PART being `proxy` or `speech`. */}}
{{- define "vibevoice.api" -}}
{{- $root := index . 0 }}
{{- $part := . }}
{{- $isSpeech := eq (index . 1) "speech" }}
{{- $values := index $root.Values (index . 1) }}
{{- $env := include "vibevoice.apiSettings" . | fromYaml }}
{{- $hasEngine := ne $env.ASR_API "off" }}
{{- $claim := ternary $values.voicesClaim $values.speakersClaim $isSpeech }}
{{- with $values }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "vibevoice.metadata" $part | nindent 2 }}
spec:
  {{- if not .autoscaling.enabled }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "vibevoice.selector" $part | nindent 6 }}
  {{- if $isSpeech }}
  strategy:
    # An extra replica might wait forever for a GPU.
    rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "vibevoice.labels" $part | nindent 8 }}
      {{- with .podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      # The preStop sleep, VIBEVOICE_SHUTDOWN_GRACE for requests in flight, and 15 s to end the workers.
      terminationGracePeriodSeconds: {{ add (int (dig "VIBEVOICE_SHUTDOWN_GRACE" 30 .settings)) 15 (include "vibevoice.drainSeconds" $root) }}
      {{- include "vibevoice.pod" $part | nindent 6 }}
      containers:
        - name: {{ index $part 1 }}
          {{- include "vibevoice.image" $part | nindent 10 }}
          ports:
            - {name: http, containerPort: 8899}
          env:
            {{- include "vibevoice.env" (list $env .extraEnv) | trim | nindent 12 }}
            {{- if $root.Values.auth.existingSecret }}
            - name: VIBEVOICE_API_KEYS
              valueFrom:
                secretKeyRef: {name: {{ $root.Values.auth.existingSecret }}, key: {{ $root.Values.auth.key }}}
            {{- end }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          {{- include "vibevoice.containerSecurity" $root | nindent 10 }}
          {{- if not $hasEngine }}
          # Up to half an hour to load the models in this pod.
          startupProbe:
            httpGet: {path: /health, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 360
          {{- end }}
          # Not /health: while a model is down, clients should get the proxy's own 503 with Retry-After.
          readinessProbe:
            httpGet: {path: /health/live, port: http}
            timeoutSeconds: 5
          livenessProbe:
            httpGet: {path: /health/live, port: http}
            timeoutSeconds: 5
          lifecycle:
            preStop: {sleep: {seconds: {{ include "vibevoice.drainSeconds" $root }}}}
          volumeMounts:
            - {name: spool, mountPath: /spool}
            - {name: cache, mountPath: /cache}
            - {name: tmp, mountPath: /tmp}
            {{- if $isSpeech }}
            - {name: models, mountPath: /models, readOnly: true}
            {{- end }}
            {{- if $claim }}
            - {name: voices, mountPath: /voices}
            {{- end }}
      volumes:
        - {name: spool, emptyDir: {sizeLimit: {{ .spoolSize }}}}
        - {name: cache, emptyDir: {}}
        - {name: tmp, emptyDir: {}}
        {{- if $isSpeech }}
        - {name: models, persistentVolumeClaim: {claimName: {{ include "vibevoice.modelsClaim" $root }}, readOnly: true}}
        {{- end }}
        {{- with $claim }}
        - {name: voices, persistentVolumeClaim: {claimName: {{ . }}}}
        {{- end }}
---
{{ include "vibevoice.service" (append $part 8899) }}
{{- end }}
{{- end -}}

{{/* Settings of the API's pods as a YAML mapping: those of the values over what follows from the chart. */}}
{{- define "vibevoice.apiSettings" -}}
{{- $root := index . 0 }}
{{- $own := (index $root.Values (index . 1)).settings }}
{{- $made := dict "VIBEVOICE_SPOOL_DIR" "/spool" "VIBEVOICE_LIGHT" "auto" "ASR_API" "chat" }}
{{- if eq (index . 1) "speech" }}
{{- $_ := merge $made (dict "MODEL_DIR" "/models") }}
{{- $_ := set $made "ASR_API" "off" }}
{{- if (index $root.Values "speech").voicesClaim }}
{{- $_ := merge $made (dict "VIBEVOICE_VOICE_DIR" "/voices" "VIBEVOICE_VOICE_UPLOADS" true) }}
{{- end }}
{{- else }}
{{- if $root.Values.proxy.speakersClaim }}
{{- $_ := merge $made (dict "VIBEVOICE_SPEAKER_DIR" "/voices/speakers" "VIBEVOICE_SPEAKER_ENROLLMENT" true) }}
{{- end }}
{{- /* Voice calls hear and speak in one process, so the proxies keep hibari beside the speech pods. */}}
{{- $_ := set $made "TTS_MODEL_TYPE" "auto" }}
{{- if $root.Values.engine.enabled }}
{{- $_ := set $made "ASR_BASE_URL" (printf "http://%s-engine:8006" (include "vibevoice.fullname" $root)) }}
{{- else if not $own.ASR_BASE_URL }}
{{- $_ := set $made "ASR_API" "off" }}
{{- $_ := set $made "VIBEVOICE_LIGHT" "on" }}
{{- end }}
{{- end }}
{{- range $name, $value := mergeOverwrite $made $own }}
{{ $name }}: {{ include "vibevoice.text" $value | quote }}
{{- end }}
{{- end -}}
