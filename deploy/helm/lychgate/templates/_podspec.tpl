{{/* The `spec` of the Deployment's pods. */}}
{{- define "lychgate.podSpec" -}}
serviceAccountName: {{ include "lychgate.serviceAccountName" . | quote }}
# Nothing here talks to the API of Kubernetes.
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "lychgate.imagePullSecrets" . }}{{ . | nindent 0 }}{{ end }}
terminationGracePeriodSeconds: {{ .Values.extraPodSpec.terminationGracePeriodSeconds | default (add .Values.shutdown.drainDelaySeconds .Values.shutdown.drainTimeoutSeconds 5) | int }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" .Values.hostUsers) }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- $selector := dict "labelSelector" (dict "matchLabels" (include "lychgate.selector" $ | fromYaml)) }}
  {{- range . }}
  - {{- toYaml (mustMergeOverwrite (hasKey . "labelSelector" | ternary (dict) (deepCopy $selector)) .) | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .Values.extraInitContainers }}
initContainers:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
containers:
  - name: lychgate
    image: {{ include "lychgate.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - serve
      {{- with .Values.extraArgs }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      {{- include "lychgate.env" . | nindent 6 }}
    {{- with .Values.envFrom }}
    envFrom:
      {{- tpl (toYaml .) $ | nindent 6 }}
    {{- end }}
    ports:
      - {name: {{ include "lychgate.scheme" . }}, containerPort: {{ int .Values.containerPorts.http }}, protocol: TCP}
      - {name: admin, containerPort: {{ int .Values.containerPorts.admin }}, protocol: TCP}
    {{- with .Values.startupProbe }}
    startupProbe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.livenessProbe }}
    livenessProbe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.readinessProbe }}
    readinessProbe:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      {{- include "lychgate.mounts" . | nindent 6 }}
      {{- with .Values.extraVolumeMounts }}
      {{- tpl (toYaml .) $ | nindent 6 }}
      {{- end }}
  {{- with .Values.extraContainers }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
volumes:
  {{- include "lychgate.volumes" (list . "") | nindent 2 }}
  - name: data
    {{- if .Values.sessions.persistence.enabled }}
    persistentVolumeClaim:
      claimName: {{ tpl .Values.sessions.persistence.existingClaim . | default (include "lychgate.nameWith" (list . "data")) | quote }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- with .Values.extraVolumes }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end -}}
