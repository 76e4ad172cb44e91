//! The YAML that the play applies: the article's three files, unchanged, and the fleet's own workloads.

/// WorkloadGroups and Services: what runs, and how it is called.
pub(crate) const WORKLOADS: &str = include_str!("../scenario/workloads.yaml");
/// Act 1: the article's Deployments and its Service.
pub(crate) const SERVICE: &str = include_str!("../scenario/1-workloads-and-service.yaml");
/// Act 2: weights 90 and 10, and the subsets that they speak of.
pub(crate) const WEIGHTS: &str = include_str!("../scenario/2-virtualservice-destinationrule.yaml");
/// Act 4: the same, and the Gateway that lets traffic in.
pub(crate) const GATEWAY: &str =
    include_str!("../scenario/3-gateway-virtualservice-destinationrule.yaml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::parts::{NAMESPACE, WORKLOADS as PLANNED};
    use serde_json::Value;

    fn objects(yaml: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(yaml).unwrap()
    }

    fn of_kind(objects: &[Value], kind: &str) -> Vec<Value> {
        let wanted = objects.iter().filter(|object| object["kind"] == kind);
        wanted.cloned().collect()
    }

    #[test]
    fn each_workload_has_its_group_with_its_account() {
        let groups = of_kind(&objects(WORKLOADS), "WorkloadGroup");
        assert_eq!(groups.len(), PLANNED.len());
        for workload in &PLANNED {
            let group = groups
                .iter()
                .find(|group| group["metadata"]["name"] == workload.name)
                .unwrap_or_else(|| panic!("{} has no WorkloadGroup", workload.name));
            assert_eq!(group["metadata"]["namespace"], NAMESPACE);
            let spec = &group["spec"];
            assert_eq!(
                spec["template"]["serviceAccount"],
                workload.service_account()
            );
            assert_eq!(spec["metadata"]["labels"]["app"], workload.role.name());
        }
    }

    #[test]
    fn each_service_selects_a_workload() {
        let all = objects(WORKLOADS);
        let services = of_kind(&all, "Service");
        assert_eq!(services.len(), 5);
        for service in services {
            let app = &service["spec"]["selector"]["app"];
            assert!(
                of_kind(&all, "WorkloadGroup")
                    .iter()
                    .any(|group| &group["spec"]["metadata"]["labels"]["app"] == app)
            );
            let name = service["metadata"]["name"].as_str().unwrap();
            assert_eq!(name, format!("fleetman-{}", app.as_str().unwrap()));
        }
    }

    #[test]
    fn the_articles_files_are_the_articles() {
        let kinds = |yaml| -> Vec<String> {
            let kind = |object: Value| object["kind"].as_str().unwrap().to_owned();
            objects(yaml).into_iter().map(kind).collect()
        };
        assert_eq!(kinds(SERVICE), ["Deployment", "Deployment", "Service"]);
        assert_eq!(kinds(WEIGHTS), ["VirtualService", "DestinationRule"]);
        assert_eq!(
            kinds(GATEWAY),
            ["Gateway", "VirtualService", "DestinationRule"]
        );
        let routes = &objects(WEIGHTS)[0]["spec"]["http"][0]["route"];
        assert_eq!(routes[0]["weight"], 10);
        assert_eq!(routes[1]["weight"], 90);
        assert_eq!(
            objects(GATEWAY)[0]["spec"]["servers"][0]["port"]["number"],
            80
        );
    }
}
