{{/* The parts of a pod that the Deployment and the preflight Job share. */}}

{{/* (list $ "suffix"): volumes. The suffix is that of the names of ConfigMaps and Secrets that the chart makes itself. */}}
{{- define "lychgate.volumes" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
{{- $values := $root.Values -}}
- name: config
  projected:
    sources:
      - configMap:
          name: {{ include "lychgate.nameWith" (list $root (printf "config%s" $suffix)) }}
- name: tenants
  projected:
    sources:
      {{- if include "lychgate.hasTenantsConfigMap" $root }}
      - configMap:
          name: {{ include "lychgate.nameWith" (list $root (printf "tenants%s" $suffix)) }}
          optional: true
      {{- end }}
      {{- range $values.tenantFiles.existingConfigMaps }}
      - configMap:
          name: {{ tpl . $root | quote }}
          optional: true
      {{- end }}
      {{- range $values.tenantFiles.existingSecrets }}
      - secret:
          name: {{ tpl . $root | quote }}
          optional: true
      {{- end }}
{{- $sources := list -}}
{{- if include "lychgate.tenantSecrets" $root | fromYaml -}}
  {{- $sources = append $sources (dict "secret" (dict "name" (include "lychgate.nameWith" (list $root (printf "tenants%s" $suffix))) "optional" true)) -}}
{{- end -}}
{{- $optional := $values.tenantSecrets.optional -}}
{{- range $id, $tenant := include "lychgate.tenants" $root | fromYaml -}}
  {{- range $field, $source := $tenant.secrets -}}
    {{- with $source.secretKeyRef -}}
      {{- $item := dict "key" .key "path" (printf "%s.%s" $id $field) -}}
      {{- $sources = append $sources (dict "secret" (dict "name" (tpl .name $root) "optional" $optional "items" (list $item))) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $values.tenantSecrets.existingSecrets -}}
  {{- $sources = append $sources (dict "secret" (dict "name" (tpl . $root) "optional" $optional)) -}}
{{- end -}}
{{- with $sources }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- with $values.caBundles }}
- name: ca
  projected:
    sources:
      {{- range . }}
      {{- if .configMap }}
      - configMap:
          name: {{ tpl .configMap $root | quote }}
      {{- else }}
      - secret:
          name: {{ tpl .secret $root | quote }}
      {{- end }}
          items:
            - key: {{ .key | default "ca.crt" | quote }}
              path: {{ printf "%s.crt" .name | quote }}
      {{- end }}
{{- end }}
{{- with $values.keys.existingSecret }}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ tpl . $root | quote }}
{{- end }}
{{- with $values.tls.existingSecret }}
- name: tls
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ tpl . $root | quote }}
          items:
            - {key: tls.crt, path: tls.crt}
            - {key: tls.key, path: tls.key}
{{- end }}
{{- with include "lychgate.redisFiles" $root | fromYamlArray }}
- name: redis
  projected:
    defaultMode: 0440
    sources:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* The files that a Redis needs, as sources of a projected volume. */}}
{{- define "lychgate.redisFiles" -}}
{{- $sources := list -}}
{{- if eq .Values.sessions.store "redis" -}}
  {{- with .Values.sessions.redis.passwordSecret -}}
    {{- $sources = append $sources (dict "secret" (dict "name" (tpl .name $) "items" (list (dict "key" .key "path" "password")))) -}}
  {{- end -}}
  {{- with .Values.sessions.redis.sentinelPasswordSecret -}}
    {{- $sources = append $sources (dict "secret" (dict "name" (tpl .name $) "items" (list (dict "key" .key "path" "sentinel.password")))) -}}
  {{- end -}}
  {{- with .Values.sessions.redis.tls.ca -}}
    {{- $source := dict "name" (tpl (.configMap | default .secret) $) "items" (list (dict "key" (.key | default "ca.crt") "path" "ca.crt")) -}}
    {{- $sources = append $sources (dict (empty .configMap | ternary "secret" "configMap") $source) -}}
  {{- end -}}
  {{- with .Values.sessions.redis.tls.clientCertSecret -}}
    {{- $items := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
    {{- $sources = append $sources (dict "secret" (dict "name" (tpl . $) "items" $items)) -}}
  {{- end -}}
{{- end -}}
{{- toYaml $sources -}}
{{- end -}}

{{/* Where those volumes are mounted. Folders, never single files: only folders show what changes. */}}
{{- define "lychgate.mounts" -}}
{{- range include "lychgate.volumes" (list . "") | fromYamlArray -}}
- {name: {{ .name }}, mountPath: /etc/lychgate/{{ .name }}, readOnly: true}
{{ end -}}
- {name: data, mountPath: /var/lib/lychgate}
{{- end -}}

{{- define "lychgate.env" -}}
- name: LYCHGATE_CONFIG
  value: /etc/lychgate/config/lychgate.yaml
{{- if eq .Values.sessions.store "redis" }}
{{- with .Values.sessions.redis.urlSecret }}
- name: LYCHGATE_SESSIONS__REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ tpl .name $ | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- with .Values.sessions.redis.usernameSecret }}
- name: LYCHGATE_SESSIONS__REDIS_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ tpl .name $ | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
- name: POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),service.instance.id=$(POD_NAME)
{{- with .Values.extraEnv }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
