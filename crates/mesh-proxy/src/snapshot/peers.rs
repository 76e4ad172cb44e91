//! Who may be calling: the mesh's workloads by the principal that their certificates prove.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_xds::Workload;

/// Known workloads by their verified principal (SPIFFE id with scheme).
#[derive(Debug, Default)]
pub struct PeerDirectory {
    by_principal: HashMap<String, Arc<Namesakes>>,
}

/// All workloads that one principal may be.
#[derive(Debug)]
pub struct Namesakes {
    /// At least one.
    pub workloads: Vec<Arc<Workload>>,
    /// What is true of each of them; the other fields are empty.
    pub common: Arc<Workload>,
}

impl PeerDirectory {
    /// A directory of these workloads.
    #[must_use]
    pub fn new(workloads: impl IntoIterator<Item = Arc<Workload>>) -> Self {
        let mut by_principal: HashMap<String, Vec<_>> = HashMap::new();
        for workload in workloads {
            let known = by_principal.entry(workload.principal.clone());
            known.or_default().push(workload);
        }
        let namesakes = |workloads: Vec<Arc<Workload>>| {
            let common = common(&workloads);
            Arc::new(Namesakes { workloads, common })
        };
        let by_principal = by_principal.into_iter();
        Self {
            by_principal: by_principal
                .map(|(principal, workloads)| (principal, namesakes(workloads)))
                .collect(),
        }
    }

    /// Who may stand behind a principal.
    #[must_use]
    pub fn namesakes(&self, principal: &str) -> Option<&Arc<Namesakes>> {
        self.by_principal.get(principal)
    }

    /// Everybody, and what namesakes have in common.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Workload>> {
        let all = self.by_principal.values();
        all.flat_map(|namesakes| namesakes.workloads.iter().chain([&namesakes.common]))
    }
}

fn common(workloads: &[Arc<Workload>]) -> Arc<Workload> {
    let [first, others @ ..] = workloads else {
        return Arc::default();
    };
    if others.is_empty() {
        return Arc::clone(first);
    }
    let mut common = Workload::clone(first);
    for other in others {
        let Workload {
            name,
            namespace,
            app,
            version,
            canonical_service,
            canonical_revision,
            cluster,
            principal,
        } = &mut common;
        for (field, theirs) in [
            (name, &other.name),
            (namespace, &other.namespace),
            (app, &other.app),
            (version, &other.version),
            (canonical_service, &other.canonical_service),
            (canonical_revision, &other.canonical_revision),
            (cluster, &other.cluster),
            (principal, &other.principal),
        ] {
            if field != theirs {
                field.clear();
            }
        }
    }
    Arc::new(common)
}
