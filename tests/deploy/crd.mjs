// Validates custom resources by the schemas of their CRDs: a JSON list of objects in, a JSON list of faults out. What has
// no schema here is a fault, too.

import { text } from "node:stream/consumers";
import { ExternalSecret } from "@kubernetes-models/external-secrets/external-secrets.io/v1/ExternalSecret";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute";
import { ReferenceGrant } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1beta1/ReferenceGrant";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";
import { Middleware } from "@kubernetes-models/traefik/traefik.io/v1alpha1/Middleware";

const KINDS = {
  "external-secrets.io/v1/ExternalSecret": ExternalSecret,
  "gateway.networking.k8s.io/v1/HTTPRoute": HTTPRoute,
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
