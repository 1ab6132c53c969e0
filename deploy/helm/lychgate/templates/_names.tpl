{{/* Names, labels, the image. */}}

{{- define "lychgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "lychgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* (list $ "suffix"): the full name and a suffix, together at most 63 characters. */}}
{{- define "lychgate.nameWith" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub 62 (len $suffix) | int -}}
{{- printf "%s-%s" (include "lychgate.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{- define "lychgate.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "lychgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lychgate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What Deployment and Services select by; it never changes. */}}
{{- define "lychgate.selector" -}}
app.kubernetes.io/name: {{ include "lychgate.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/* The `metadata` of an object. `root`: $; `name`; `component`; if need be `namespace`, `labels` and `annotations` that
values give (ours win), `own` annotations. */}}
{{- define "lychgate.metadata" -}}
{{- $v := .root.Values -}}
name: {{ .name | quote }}
namespace: {{ default (include "lychgate.namespace" .root) .namespace | quote }}
{{- $chart := dict
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "lychgate"
  "app.kubernetes.io/version" (default .root.Chart.AppVersion $v.image.tag | replace "+" "_" | trunc 63 | trimAll "-._")
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-._") }}
labels:
  {{- include "lychgate.labels" (dict "root" .root "component" .component "labels" .labels "own" $chart) | nindent 2 }}
{{- with mustMergeOverwrite (dict) (deepCopy $v.commonAnnotations) (.annotations | default dict) (.own | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: no version of the chart among them, which would roll the pods. */}}
{{- define "lychgate.labels" -}}
{{- $ours := include "lychgate.selector" .root | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/component" .component -}}
{{- toYaml (mustMergeOverwrite (dict) (deepCopy .root.Values.commonLabels) (.labels | default dict) (.own | default dict) $ours) -}}
{{- end -}}

{{- define "lychgate.image" -}}
{{- $registry := default .Values.image.registry (.Values.global).imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* `imagePullSecrets` of a pod, nothing if there are none. */}}
{{- define "lychgate.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat ((.Values.global).imagePullSecrets | default list) .Values.image.pullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with uniq $secrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "lychgate.scheme" -}}
{{- empty .Values.tls.existingSecret | ternary "http" "https" -}}
{{- end -}}

{{/* The origin at which other pods reach us. */}}
{{- define "lychgate.serviceOrigin" -}}
{{- printf "%s://%s.%s.svc:%d" (include "lychgate.scheme" .) (include "lychgate.fullname" .) (include "lychgate.namespace" .) (int .Values.service.port) -}}
{{- end -}}
