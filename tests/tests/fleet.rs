//! Promise: two fleets run side by side, and Ctrl-C leaves nothing behind.

use mesh_tests::Fleet;

#[tokio::test(flavor = "multi_thread")]
async fn two_fleets_live_side_by_side_and_go_without_a_trace() {
    let (one, other) = (Fleet::up().await, Fleet::up().await);
    for fleet in [&one, &other] {
        let titles = fleet.titles(&fleet.state.loadbalancer, 10).await.unwrap();
        assert_eq!(titles.values().copied().collect::<Vec<_>>(), [5, 5]);
    }
    one.down().unwrap();
    other.titles(&other.state.loadbalancer, 10).await.unwrap();
    other.down().unwrap();
}
