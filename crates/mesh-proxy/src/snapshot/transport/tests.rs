use mesh_xds::envoy::matcher::StringMatcher;

use super::*;
use crate::snapshot::samples::{AUTHORITY, downstream_tls, plain_text, tls_socket, upstream_tls};

fn identity() -> Arc<Identity> {
    AUTHORITY.identity("default", "webapp")
}

fn read_upstream(context: &pb::UpstreamTlsContext) -> Result<(Terms, String), Refusal> {
    let socket = tls_socket(context);
    let read = upstream(&At::ROOT, Some(&socket), &identity(), &["h2", "http/1.1"])?;
    match read.expect("a TLS socket is not plain text") {
        (Upstream::Mesh(terms), sni) => Ok((terms, sni.to_str().into_owned())),
        (other, _) => panic!("not for the mesh: {other:?}"),
    }
}

fn read_downstream(context: &pb::DownstreamTlsContext) -> Result<Terms, Refusal> {
    let socket = tls_socket(context);
    match downstream(&At::ROOT, Some(&socket), &identity())? {
        Some(Downstream::Mesh(terms)) => Ok(terms),
        other => panic!("not for the mesh: {other:?}"),
    }
}

fn common_of(context: &mut pb::UpstreamTlsContext) -> &mut pb::CommonTlsContext {
    context.common_tls_context.as_mut().unwrap()
}

fn names_of(context: &mut pb::UpstreamTlsContext) -> &mut pb::CertificateValidationContext {
    match common_of(context).validation_context_type.as_mut().unwrap() {
        ValidationContextType::CombinedValidationContext(combined) => {
            combined.default_validation_context.as_mut().unwrap()
        }
        other => panic!("not a combined context: {other:?}"),
    }
}

fn refused(change: impl FnOnce(&mut pb::UpstreamTlsContext)) -> String {
    let mut context = upstream_tls("shop", &["shop"]);
    change(&mut context);
    let field = read_upstream(&context).unwrap_err().field;
    field
        .trim_start_matches("typed_config.")
        .trim_start_matches("common_tls_context.")
        .to_owned()
}

#[test]
fn a_clusters_context_names_peers_server_and_protocols() {
    let sni = "outbound_.80_._.shop.default.svc.cluster.local";
    let (terms, name) = read_upstream(&upstream_tls(sni, &["shop", "shop-canary"])).unwrap();
    assert_eq!(name, sni);
    let peers = ["shop", "shop-canary"].map(|account| AUTHORITY.id("default", account));
    assert_eq!(terms.peers, Some(BTreeSet::from(peers)));
    assert_eq!(terms.alpn, [b"h2".to_vec()]);
    let mut context = upstream_tls(sni, &["shop"]);
    common_of(&mut context).alpn_protocols.clear();
    let (terms, _) = read_upstream(&context).unwrap();
    assert_eq!(
        terms.alpn,
        [b"h2".to_vec(), b"http/1.1".to_vec()],
        "the cluster's own"
    );
}

#[test]
fn a_chains_context_lets_in_the_trust_domain() {
    let terms = read_downstream(&downstream_tls()).unwrap();
    assert_eq!(terms.peers, None);
    let mut context = downstream_tls();
    context.require_client_certificate = None;
    let error = read_downstream(&context).unwrap_err();
    assert_eq!(error.field, "typed_config.require_client_certificate");
}

#[test]
fn older_forms_mean_the_same() {
    let mut context = upstream_tls("shop", &[]);
    let id = AUTHORITY.id("default", "shop");
    #[allow(deprecated, reason = "older control planes still send it")]
    names_of(&mut context)
        .match_subject_alt_names
        .push(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(id.to_string())),
            ..Default::default()
        });
    let (terms, _) = read_upstream(&context).unwrap();
    assert_eq!(terms.peers, Some(BTreeSet::from([id])));

    let secret = pb::SdsSecretConfig {
        name: "ROOTCA".into(),
        sds_config: None,
    };
    common_of(&mut context).validation_context_type = Some(
        ValidationContextType::ValidationContextSdsSecretConfig(secret),
    );
    assert_eq!(read_upstream(&context).unwrap().0.peers, None);
}

#[test]
fn raw_buffers_and_nothing_are_plain_text() {
    let read = |socket| upstream(&At::ROOT, socket, &identity(), &[]).unwrap();
    assert_eq!(read(None), None);
    assert_eq!(read(Some(&plain_text())), None);
    let unnamed = TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: None,
    };
    assert!(upstream(&At::ROOT, Some(&unnamed), &identity(), &[]).is_err());
    let mistaken = tls_socket(&downstream_tls());
    let error = upstream(&At::ROOT, Some(&mistaken), &identity(), &[]).unwrap_err();
    assert_eq!(error.field, "typed_config");
}

#[test]
fn whatever_would_weaken_or_change_tls_is_refused_by_name() {
    assert_eq!(refused(|c| c.sni = String::new()), "sni");
    assert_eq!(
        refused(|c| c.allow_renegotiation = true),
        "allow_renegotiation"
    );
    assert_eq!(
        refused(|c| c.common_tls_context = None),
        "common_tls_context"
    );
    assert_eq!(
        refused(|c| common_of(c).tls_certificates.push(Default::default())),
        "tls_certificates"
    );
    assert_eq!(
        refused(|c| common_of(c).tls_certificate_sds_secret_configs[0].name = "other".into()),
        "tls_certificate_sds_secret_configs"
    );
    assert_eq!(
        refused(|c| common_of(c).validation_context_type = None),
        "common_tls_context"
    );
    assert_eq!(
        refused(|c| common_of(c).tls_params = Some(pb::TlsParameters {
            tls_maximum_protocol_version: TlsProtocol::TlSv12 as i32,
            ..Default::default()
        })),
        "tls_params.tls_maximum_protocol_version"
    );
    let names = "combined_validation_context.default_validation_context";
    assert_eq!(
        refused(|c| names_of(c).allow_expired_certificate = true),
        format!("{names}.allow_expired_certificate")
    );
    assert_eq!(
        refused(|c| names_of(c).match_typed_subject_alt_names[0].san_type = SanType::Dns as i32),
        format!("{names}.match_typed_subject_alt_names[0]")
    );
    for (pattern, field) in [
        (MatchPattern::Exact("shop.example".into()), ".exact"),
        (
            MatchPattern::Prefix("spiffe://cluster.local/ns/x/".into()),
            "",
        ),
        (MatchPattern::Prefix("spiffe://cluster".into()), ""),
        (MatchPattern::Suffix("/sa/shop".into()), ""),
    ] {
        let matcher = StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        };
        assert_eq!(
            refused(|c| names_of(c).match_typed_subject_alt_names[0].matcher = Some(matcher)),
            format!("{names}.match_typed_subject_alt_names[0].matcher{field}")
        );
    }
}

#[test]
fn equal_terms_share_a_configuration_over_versions() {
    let (identity, secrets) = (identity(), Secrets::default());
    let trust = (&identity, &secrets);
    let terms = |accounts: &[&str]| read_upstream(&upstream_tls("shop", accounts)).unwrap().0;
    let mut first = Configurations::default();
    let a = first.client(None, trust, Upstream::Mesh(terms(&["a"])));
    assert!(Arc::ptr_eq(
        &a,
        &first.client(None, trust, Upstream::Mesh(terms(&["a"])))
    ));
    let mut second = Configurations::default();
    assert!(Arc::ptr_eq(
        &a,
        &second.client(Some(&first), trust, Upstream::Mesh(terms(&["a"])))
    ));
    let b = second.client(Some(&first), trust, Upstream::Mesh(terms(&["a", "b"])));
    assert!(!Arc::ptr_eq(&a, &b));
    assert_eq!(a.alpn_protocols, [b"h2".to_vec()]);
}
