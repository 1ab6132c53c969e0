{{/* What is wrong with the values, a list of sentences. */}}
{{- define "lychgate.faults" -}}
{{- $faults := list -}}
{{- $v := .Values -}}
{{- $several := gt (include "lychgate.mostPods" . | int) 1 -}}
{{- $isRedis := eq $v.sessions.store "redis" -}}
{{- $redis := $v.sessions.redis -}}
{{- $tenants := include "lychgate.tenants" . | fromYaml -}}

{{- if not $v.enabled -}}
  {{- $faults = append $faults "enabled=false is for a parent chart's `condition`: to have nothing, uninstall the release" -}}
{{- end -}}

{{- /* Pods and sessions */ -}}
{{- if and $several (not $isRedis) -}}
  {{- $why := $v.autoscaling.enabled | ternary "autoscaling.enabled=true" (kindIs "invalid" $v.replicaCount | ternary "replicaCount=null" (printf "replicaCount=%v" $v.replicaCount)) -}}
  {{- $faults = append $faults (printf "%s means several pods, but sessions.store=embedded keeps sessions in each pod by itself: set sessions.store=redis and sessions.redis, or one pod" $why) -}}
{{- end -}}
{{- if and $isRedis (not $v.keys.existingSecret) -}}
  {{- $faults = append $faults "sessions.store=redis needs keys.existingSecret, one root secret for all pods, or no pod can read what another has written: `lychgate secret` prints one for its key `secret.key`" -}}
{{- end -}}
{{- if and $isRedis $v.sessions.persistence.enabled -}}
  {{- $faults = append $faults "sessions.persistence.enabled=true is for sessions.store=embedded: with redis nothing would lie on the volume" -}}
{{- end -}}
{{- if and $v.sessions.persistence.enabled (eq (toString $v.updateStrategy.type) "RollingUpdate") -}}
  {{- $faults = append $faults "updateStrategy.type=RollingUpdate with sessions.persistence.enabled=true would wait for ever: the old pod holds the volume that the new one needs. Leave updateStrategy empty (Recreate)" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
  {{- $faults = append $faults "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (kindIs "invalid" $v.autoscaling.targetCPUUtilizationPercentage) (not $v.autoscaling.metrics) -}}
  {{- $faults = append $faults "autoscaling has nothing to go by: set autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics" -}}
{{- end -}}
{{- if not (or (kindIs "invalid" $v.podDisruptionBudget.minAvailable) (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable)) -}}
  {{- $faults = append $faults "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both given: leave one null" -}}
{{- end -}}
{{- $grace := add $v.shutdown.drainDelaySeconds $v.shutdown.drainTimeoutSeconds -}}
{{- with $v.extraPodSpec.terminationGracePeriodSeconds -}}
  {{- if lt (int .) (int $grace) -}}
    {{- $faults = append $faults (printf "extraPodSpec.terminationGracePeriodSeconds=%d is less than shutdown.drainDelaySeconds + shutdown.drainTimeoutSeconds = %d: requests would be cut off. Leave it out; the chart computes it" (int .) $grace) -}}
  {{- end -}}
{{- end -}}

{{- /* Redis */ -}}
{{- if $isRedis -}}
  {{- if and (eq $redis.mode "standalone") (not $redis.url) (not $redis.urlSecret) -}}
    {{- $faults = append $faults "sessions.store=redis needs sessions.redis.url, such as rediss://redis.internal:6379, or sessions.redis.urlSecret" -}}
  {{- end -}}
  {{- if and $redis.url $redis.urlSecret -}}
    {{- $faults = append $faults "sessions.redis.url and sessions.redis.urlSecret are both given: leave one empty" -}}
  {{- end -}}
  {{- if and (ne $redis.mode "standalone") (or $redis.url $redis.urlSecret) -}}
    {{- $faults = append $faults (printf "sessions.redis.url is for sessions.redis.mode=standalone: name the servers of a %s in sessions.redis.nodes" $redis.mode) -}}
  {{- end -}}
  {{- if and (ne $redis.mode "standalone") (not $redis.nodes) -}}
    {{- $faults = append $faults (printf "sessions.redis.mode=%s needs sessions.redis.nodes" $redis.mode) -}}
  {{- end -}}
  {{- if and (eq $redis.mode "standalone") $redis.nodes -}}
    {{- $faults = append $faults "sessions.redis.nodes is for sessions.redis.mode=sentinel or cluster" -}}
  {{- end -}}
  {{- if and (eq $redis.mode "sentinel") (not $redis.masterName) -}}
    {{- $faults = append $faults "sessions.redis.mode=sentinel needs sessions.redis.masterName" -}}
  {{- end -}}
  {{- if and $redis.username $redis.usernameSecret -}}
    {{- $faults = append $faults "sessions.redis.username and sessions.redis.usernameSecret are both given: leave one empty" -}}
  {{- end -}}
  {{- range append $redis.nodes $redis.url -}}
    {{- if regexMatch "^[a-z]+://[^/@]*:[^/@]*@" . -}}
      {{- $faults = append $faults "a URL in sessions.redis holds a password, which would lie in a ConfigMap: use sessions.redis.passwordSecret or sessions.redis.urlSecret" -}}
    {{- end -}}
  {{- end -}}
{{- else -}}
  {{- if or $redis.url $redis.urlSecret $redis.nodes -}}
    {{- $faults = append $faults "sessions.redis says where Redis is, but sessions.store=embedded: set sessions.store=redis" -}}
  {{- end -}}
{{- end -}}

{{- /* Settings that the chart fills in */ -}}
{{- range $path, $instead := include "lychgate.ownedSettings" . | fromYaml -}}
  {{- $at := dict "value" $v.config -}}
  {{- range splitList "." $path -}}
    {{- if and (kindIs "map" $at.value) (hasKey $at.value .) -}}
      {{- $_ := set $at "value" (index $at.value .) -}}
    {{- else -}}
      {{- $_ := set $at "value" nil -}}
    {{- end -}}
  {{- end -}}
  {{- if not (kindIs "invalid" $at.value) -}}
    {{- $faults = append $faults (printf "config.%s is filled in by the chart: set %s" $path $instead) -}}
  {{- end -}}
{{- end -}}

{{- /* Tenants */ -}}
{{- $hosts := dict -}}
{{- $publicHost := regexReplaceAll "^[a-z]+://([^/:]*).*$" (lower ($v.config.public_url | default "")) "${1}" -}}
{{- $bundles := list -}}
{{- range $v.caBundles }}{{ $bundles = append $bundles .name }}{{ end -}}
{{- range $id, $tenant := $tenants -}}
  {{- $config := $tenant.config | default dict -}}
  {{- $at := printf "tenants.%s" $id -}}
  {{- if not (or $config.issuer $config.domain) -}}
    {{- $faults = append $faults (printf "%s.config has neither issuer nor domain (Auth0)" $at) -}}
  {{- end -}}
  {{- if and $config.issuer $config.domain -}}
    {{- $faults = append $faults (printf "%s.config has both issuer and domain: leave one out" $at) -}}
  {{- end -}}
  {{- if not (or $config.hosts $v.config.public_url) -}}
    {{- $faults = append $faults (printf "%s has no URL: set config.public_url, which all tenants share, or %s.config.hosts" $at $at) -}}
  {{- end -}}
  {{- range $config.hosts -}}
    {{- $host := lower . -}}
    {{- if eq $host $publicHost -}}
      {{- $faults = append $faults (printf "%s.config.hosts has %s, the host of config.public_url, which all tenants share: use another host, or leave it out" $at .) -}}
    {{- end -}}
    {{- if hasKey $hosts $host -}}
      {{- $faults = append $faults (printf "%s.config.hosts has %s, which is a host of tenants.%s as well: give each host to one tenant" $at . (get $hosts $host)) -}}
    {{- end -}}
    {{- $_ := set $hosts $host $id -}}
  {{- end -}}
  {{- range list "client_secret" "private_key" -}}
    {{- $value := index $config . -}}
    {{- if and $value (not (regexMatch "^\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}$" (toString $value))) -}}
      {{- $faults = append $faults (printf "%s.config.%s would lie in a ConfigMap: move it to %s.secrets.%s, as value or secretKeyRef" $at . $at .) -}}
    {{- end -}}
  {{- end -}}
  {{- range $field, $source := $tenant.secrets -}}
    {{- range list $field (printf "%s_file" $field) -}}
      {{- if hasKey $config . -}}
        {{- $faults = append $faults (printf "%s.config.%s and %s.secrets.%s are both given: leave one out" $at . $at $field) -}}
      {{- end -}}
    {{- end -}}
    {{- if and (hasKey $source "existing") (not $v.tenantSecrets.existingSecrets) -}}
      {{- $faults = append $faults (printf "%s.secrets.%s.existing needs tenantSecrets.existingSecrets: a Secret with the key %s.%s" $at $field $id $field) -}}
    {{- end -}}
  {{- end -}}
  {{- with $tenant.caBundle -}}
    {{- if not (has . $bundles) -}}
      {{- $faults = append $faults (printf "%s.caBundle=%s is not the name of any of caBundles" $at .) -}}
    {{- end -}}
    {{- if hasKey $config "ca_file" -}}
      {{- $faults = append $faults (printf "%s.config.ca_file and %s.caBundle are both given: leave one out" $at $at) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range uniq $bundles -}}
  {{- $name := . -}}
  {{- $same := 0 -}}
  {{- range $bundles }}{{ if eq . $name }}{{ $same = add1 $same }}{{ end }}{{ end -}}
  {{- if gt (int $same) 1 -}}
    {{- $faults = append $faults (printf "caBundles has the name %s twice" $name) -}}
  {{- end -}}
{{- end -}}
{{- $size := add (len (include "lychgate.tenantFiles" .)) (len (include "lychgate.tenantSecrets" .)) -}}
{{- if gt (int $size) 921600 -}}
  {{- $faults = append $faults (printf "tenants take %d KiB; a ConfigMap and Helm's own Secret hold 1 MiB. Put some into ConfigMaps of your own and name them in tenantFiles.existingConfigMaps" (div $size 1024)) -}}
{{- end -}}

{{- /* Ways in */ -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
  {{- $faults = append $faults "ingress.enabled=true needs ingress.hosts: without a host it would take every host of the controller" -}}
{{- end -}}
{{- range $name, $route := $v.route -}}
  {{- if and $route $route.enabled -}}
    {{- if not $route.hostnames -}}
      {{- $faults = append $faults (printf "route.%s needs hostnames: without one it would take every host of the Gateway" $name) -}}
    {{- end -}}
    {{- if not $route.parentRefs -}}
      {{- $faults = append $faults (printf "route.%s needs parentRefs, the Gateway that it belongs to" $name) -}}
    {{- end -}}
    {{- if and $route.rules (or $route.closedPaths $route.filters) -}}
      {{- $faults = append $faults (printf "route.%s.rules replaces closedPaths and filters: leave those empty" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled $v.metrics.serviceMonitor.enabled (not $v.networkPolicy.metricsFrom) -}}
  {{- $faults = append $faults "networkPolicy.enabled=true keeps Prometheus out: set networkPolicy.metricsFrom to its pods, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if and $v.integrations.envoyGateway.securityPolicy.enabled (not $v.integrations.envoyGateway.securityPolicy.targetRefs) -}}
  {{- $faults = append $faults "integrations.envoyGateway.securityPolicy needs targetRefs, the routes of the application" -}}
{{- end -}}

{{- /* Alerts */ -}}
{{- if $v.metrics.prometheusRule.enabled -}}
  {{- $alerts := dict -}}
  {{- range (.Files.Get "files/rules.yaml" | fromYaml).groups }}{{ range .rules }}{{ with .alert }}{{ $_ := set $alerts . true }}{{ end }}{{ end }}{{ end -}}
  {{- range concat $v.metrics.prometheusRule.disabled (keys $v.metrics.prometheusRule.overrides) | sortAlpha | uniq -}}
    {{- if not (hasKey $alerts .) -}}
      {{- $faults = append $faults (printf "metrics.prometheusRule knows no alert %s; there are %s" . (keys $alerts | sortAlpha | join ", ")) -}}
    {{- end -}}
  {{- end -}}
  {{- range (.Files.Get "files/rules.yaml" | fromYaml).groups -}}
    {{- range .rules -}}
      {{- $override := index $v.metrics.prometheusRule.overrides (.alert | default "") | default dict -}}
      {{- if and (hasKey $override "threshold") (ne (include "lychgate.comparisons" .expr) "1") -}}
        {{- $faults = append $faults (printf "metrics.prometheusRule.overrides.%s.threshold: the alert does not compare exactly once. Set expr" .alert) -}}
      {{- end -}}
      {{- if and (hasKey $override "threshold") (hasKey $override "expr") -}}
        {{- $faults = append $faults (printf "metrics.prometheusRule.overrides.%s: threshold and expr are both given: leave one out" .alert) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- if $faults }}{{ toYaml $faults }}{{ end -}}
{{- end -}}

{{/* How often an expression compares; what stands in braces does not count. */}}
{{- define "lychgate.comparisons" -}}
{{- len (regexFindAll "==|!=|>=|<=|>|<" (regexReplaceAll "\\{[^}]*\\}" . "") -1) -}}
{{- end -}}
