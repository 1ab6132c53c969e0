{{/* What becomes `lychgate.yaml` and the tenants' files. */}}

{{/* How many pods there may be at most; 2 stands for "several" where somebody else decides. */}}
{{- define "lychgate.mostPods" -}}
{{- if .Values.autoscaling.enabled -}}
{{- int .Values.autoscaling.maxReplicas -}}
{{- else -}}
{{- kindIs "invalid" .Values.replicaCount | ternary 2 (int (default 0 .Values.replicaCount)) -}}
{{- end -}}
{{- end -}}

{{/* Keys of `config` that the chart fills in, and what to set instead. */}}
{{- define "lychgate.ownedSettings" -}}
listen: bindAddress and containerPorts.http
admin_listen: bindAddress and containerPorts.admin
tenants: tenants, or tenantFiles
data: sessions.persistence
secret: keys.existingSecret
secret_file: keys.existingSecret
replicas: replicaCount or autoscaling.maxReplicas
tls: tls.existingSecret
server.drain_delay: shutdown.drainDelaySeconds
server.drain_timeout: shutdown.drainTimeoutSeconds
sessions.store: sessions.store
sessions.redis_url: sessions.redis.url
sessions.redis_cluster: sessions.redis.nodes with sessions.redis.mode=cluster
sessions.redis_sentinels: sessions.redis.nodes with sessions.redis.mode=sentinel
sessions.redis_master: sessions.redis.masterName
sessions.redis_username: sessions.redis.username
sessions.redis_password: sessions.redis.passwordSecret
sessions.redis_password_file: sessions.redis.passwordSecret
sessions.redis_sentinel_username: sessions.redis.sentinelUsername
sessions.redis_sentinel_password: sessions.redis.sentinelPasswordSecret
sessions.redis_sentinel_password_file: sessions.redis.sentinelPasswordSecret
sessions.redis_ca_file: sessions.redis.tls.ca
sessions.redis_certificate_file: sessions.redis.tls.clientCertSecret
sessions.redis_key_file: sessions.redis.tls.clientCertSecret
sessions.redis_prefix: sessions.redis.keyPrefix
{{- end -}}

{{/* `lychgate.yaml`: `config` as it is, and what the chart fills in. */}}
{{- define "lychgate.settings" -}}
{{- $redis := .Values.sessions.redis -}}
{{- $sessions := dict "store" .Values.sessions.store -}}
{{- if eq .Values.sessions.store "redis" -}}
  {{- if eq $redis.mode "cluster" -}}
    {{- $_ := set $sessions "redis_cluster" $redis.nodes -}}
  {{- else if eq $redis.mode "sentinel" -}}
    {{- $_ := set $sessions "redis_sentinels" $redis.nodes -}}
    {{- $_ := set $sessions "redis_master" $redis.masterName -}}
    {{- with $redis.sentinelUsername }}{{ $_ := set $sessions "redis_sentinel_username" . }}{{ end -}}
    {{- with $redis.sentinelPasswordSecret }}{{ $_ := set $sessions "redis_sentinel_password_file" "/etc/lychgate/redis/sentinel.password" }}{{ end -}}
  {{- else if $redis.url -}}
    {{- $_ := set $sessions "redis_url" $redis.url -}}
  {{- end -}}
  {{- with $redis.username }}{{ $_ := set $sessions "redis_username" . }}{{ end -}}
  {{- with $redis.passwordSecret }}{{ $_ := set $sessions "redis_password_file" "/etc/lychgate/redis/password" }}{{ end -}}
  {{- with $redis.keyPrefix }}{{ $_ := set $sessions "redis_prefix" . }}{{ end -}}
  {{- with $redis.tls.ca }}{{ $_ := set $sessions "redis_ca_file" "/etc/lychgate/redis/ca.crt" }}{{ end -}}
  {{- if $redis.tls.clientCertSecret -}}
    {{- $_ := set $sessions "redis_certificate_file" "/etc/lychgate/redis/tls.crt" -}}
    {{- $_ := set $sessions "redis_key_file" "/etc/lychgate/redis/tls.key" -}}
  {{- end -}}
{{- end -}}
{{- $ours := dict
  "listen" (printf "%s:%d" .Values.bindAddress (int .Values.containerPorts.http))
  "admin_listen" (printf "%s:%d" .Values.bindAddress (int .Values.containerPorts.admin))
  "replicas" (include "lychgate.mostPods" . | int | max 1)
  "tenants" "/etc/lychgate/tenants"
  "data" "/var/lib/lychgate"
  "sessions" $sessions
  "server" (dict
    "drain_delay" (printf "%ds" (int .Values.shutdown.drainDelaySeconds))
    "drain_timeout" (printf "%ds" (int .Values.shutdown.drainTimeoutSeconds))) -}}
{{- if .Values.keys.existingSecret }}{{ $_ := set $ours "secret_file" "/etc/lychgate/keys/secret.key" }}{{ end -}}
{{- if .Values.tls.existingSecret -}}
  {{- $_ := set $ours "tls" (dict "certificate_file" "/etc/lychgate/tls/tls.crt" "key_file" "/etc/lychgate/tls/tls.key") -}}
{{- end -}}
{{- $ownTenants := include "lychgate.tenants" . | fromYaml -}}
{{- $noTenants := not (or $ownTenants .Values.tenantFiles.existingConfigMaps .Values.tenantFiles.existingSecrets) -}}
{{- $defaults := dict "on_invalid_tenant" "skip" "allow_no_tenants" $noTenants -}}
{{- toYaml (mustMergeOverwrite $defaults (deepCopy .Values.config) $ours) -}}
{{- end -}}

{{/* Those of them that are read at the start alone: all but the keys that a reload takes over. */}}
{{- define "lychgate.fixedSettings" -}}
{{- $settings := include "lychgate.settings" . | fromYaml -}}
{{- toYaml (omit $settings "tenants" "templates" "trusted_proxies" "metrics_allow" "list_tenants" "on_invalid_tenant" "allow_no_tenants") -}}
{{- end -}}

{{/* The tenants that are on, as YAML: id to values. */}}
{{- define "lychgate.tenants" -}}
{{- $on := dict -}}
{{- range $id, $tenant := .Values.tenants -}}
  {{- if and $tenant (ne (toString $tenant.enabled) "false") -}}
    {{- $_ := set $on $id $tenant -}}
  {{- end -}}
{{- end -}}
{{- toYaml $on -}}
{{- end -}}

{{/* The `data` of the tenants' ConfigMap: each `config`, and where its secrets lie. */}}
{{- define "lychgate.tenantFiles" -}}
{{- $files := dict -}}
{{- range $id, $tenant := include "lychgate.tenants" . | fromYaml -}}
  {{- $file := deepCopy ($tenant.config | default dict) -}}
  {{- range $field, $_ := $tenant.secrets -}}
    {{- $_ := set $file (printf "%s_file" $field) (printf "/etc/lychgate/secrets/%s.%s" $id $field) -}}
  {{- end -}}
  {{- with $tenant.caBundle }}{{ $_ := set $file "ca_file" (printf "/etc/lychgate/ca/%s.crt" .) }}{{ end -}}
  {{- $_ := set $files (printf "%s.yaml" $id) (toYaml $file) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* The `stringData` of the tenants' Secret: what values give themselves. */}}
{{- define "lychgate.tenantSecrets" -}}
{{- $secrets := dict -}}
{{- range $id, $tenant := include "lychgate.tenants" . | fromYaml -}}
  {{- range $field, $source := $tenant.secrets -}}
    {{- if hasKey $source "value" -}}
      {{- $_ := set $secrets (printf "%s.%s" $id $field) $source.value -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{/* Whether the chart makes a ConfigMap of tenants: not if all of them come from elsewhere. */}}
{{- define "lychgate.hasTenantsConfigMap" -}}
{{- if or (include "lychgate.tenants" . | fromYaml) (not (or .Values.tenantFiles.existingConfigMaps .Values.tenantFiles.existingSecrets)) -}}true{{- end -}}
{{- end -}}
