// Validates custom resources by the schemas of their CRDs: a JSON list of objects in, a JSON list of faults out. What has
// no schema here is a fault, too.

import { text } from "node:stream/consumers";
import { ExternalSecret } from "@kubernetes-models/external-secrets/external-secrets.io/v1/ExternalSecret";
import { HTTPExternalAuthFilter } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPExternalAuthFilter";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { ReferenceGrant } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1beta1/ReferenceGrant";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";
import { Middleware } from "@kubernetes-models/traefik/traefik.io/v1alpha1/Middleware";

/** Validates a route. Its published schema is that of the standard channel, the filter ExternalAuth has one of its own. */
class Route {
  constructor(object) {
    this.object = structuredClone(object);
  }

  validate() {
    for (const rule of this.object.spec.rules ?? []) {
      const filters = rule.filters ?? [];
      filters.filter(isExternalAuth).forEach(({ externalAuth }) => new HTTPExternalAuthFilter(externalAuth).validate());
      rule.filters = filters.filter((filter) => !isExternalAuth(filter));
    }
    new HTTPRoute(this.object).validate();
  }
}

function isExternalAuth({ type }) {
  return type === "ExternalAuth";
}

const KINDS = {
  "external-secrets.io/v1/ExternalSecret": ExternalSecret,
  "gateway.networking.k8s.io/v1/HTTPRoute": Route,
  "gateway.networking.k8s.io/v1beta1/ReferenceGrant": ReferenceGrant,
  "monitoring.coreos.com/v1/PrometheusRule": PrometheusRule,
  "monitoring.coreos.com/v1/ServiceMonitor": ServiceMonitor,
  "traefik.io/v1alpha1/Middleware": Middleware,
};

function faultsOf(object) {
  const name = `${object.apiVersion}/${object.kind}`;
  if (!KINDS[name]) {
    return [`${name}: no schema of it is known`];
  }
  try {
    new KINDS[name](object).validate();
    return [];
  } catch (error) {
    return [`${name} ${object.metadata.name}: ${error.message}`];
  }
}

console.log(JSON.stringify(JSON.parse(await text(process.stdin)).flatMap(faultsOf)));
