//! What only shows when tenants are seen together: hosts, clients and APIs that no two of them may share.

use super::{Fault, TenantSettings};

/// What no two tenants may share, or only where organizations tell them apart. Tenants without a claim in common do
/// not clash.
pub fn claims(tenant: &TenantSettings) -> impl Iterator<Item = String> + '_ {
    let issuer = &tenant.provider.issuer;
    let hosts = tenant.hosts.iter().map(|host| format!("host {host}"));
    let apis = tenant.api.audiences.iter().map(move |audience| format!("api {issuer} {audience}"));
    let client = format!("client {issuer} {}", tenant.provider.client_id);
    hosts.chain(apis).chain([client])
}

/// Why a tenant cannot be served beside another one: faults of the first one's file.
pub fn between(tenant: (&str, &TenantSettings), other: (&str, &TenantSettings)) -> Vec<Fault> {
    let ((file, tenant), (other_file, other)) = (tenant, other);
    let mut faults = Vec::new();
    let mut fault = |key: &str, reason: String, help: &str| {
        faults.push(Fault { file: file.to_owned(), key: key.to_owned(), reason, help: Some(help.to_owned()) });
    };
    if let Some(host) = tenant.hosts.iter().find(|host| other.hosts.contains(host)) {
        fault("hosts", format!("{host} is also a host of {other_file}"), "give each host to one tenant");
    }
    if tenant.provider.issuer != other.provider.issuer {
        return faults;
    }
    let same_client = tenant.provider.client_id == other.provider.client_id;
    let same_api = tenant.api.audiences.iter().any(|audience| other.api.audiences.contains(audience));
    if (same_client || same_api) && told_apart(tenant, other) {
        return faults;
    }
    if same_api {
        let reason = format!("an API of the same issuer is also one of {other_file}: its tokens would pass at both");
        let help = "give each API to one tenant, or set `organizations` in both, with none in both";
        fault("api.audiences", reason, help);
    }
    if same_client {
        let reason = format!("issuer and client_id are also those of {other_file}, and nothing tells the two apart");
        let help = "set `organization` or `organizations` in both, with no organization in both";
        fault("organization", reason, help);
    }
    faults
}

/// Whether organizations keep the users of two tenants apart that are one client of one provider. Their names are
/// compared as in id tokens: `Acme` is `acme`.
fn told_apart(one: &TenantSettings, other: &TenantSettings) -> bool {
    let [one, other] = [one, other].map(|tenant| {
        tenant.sign_in.organizations.iter().map(|organization| organization.to_lowercase()).collect::<Vec<_>>()
    });
    !one.is_empty() && !other.is_empty() && !one.iter().any(|organization| other.contains(organization))
}
