//! Apps that die in different rhythms, against Docker's rules.

use super::*;

/// Docker's first pause before it starts a container again, which doubles until it has run for 10 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The app's lives, one after the other; the last one does not end. Returns when the agent ends, counted from the
/// start of the life that it ends in, and how many lives have ended before. The agent starts with the first life, or
/// later.
fn ends(lives: &[f64], agent_starts: f64) -> (Duration, usize) {
    let begin = Instant::now();
    let clock = |at: Duration| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + at;
    let first = Written {
        at: clock(Duration::ZERO),
        inode: 1,
    };
    let mut watch = Watch::new(begin + secs(agent_starts), Some(first));
    let (mut now, mut pause) = (secs(agent_starts), FIRST_PAUSE);
    let mut born = Duration::ZERO;
    for (number, life) in lives
        .iter()
        .map(|life| secs(*life))
        .chain([Duration::MAX])
        .enumerate()
    {
        let dies = born.saturating_add(life);
        let reborn = dies.saturating_add(pause);
        pause = if life < secs(10.0) {
            (pause * 2).min(LONGEST_PAUSE)
        } else {
            FIRST_PAUSE
        };
        let written = Written {
            at: clock(born),
            inode: 1,
        };
        while now < reborn {
            assert!(now < secs(100_000.0), "it never ends");
            let network = number == 0 && now < dies;
            if watch.see(begin + now, clock(now), network, Some(written)) {
                assert!(
                    now + FIRST_PAUSE < dies,
                    "it ended while the app was not running: {lives:?}"
                );
                return (now - born, number);
            }
            now += TICK;
        }
        born = reborn;
    }
    unreachable!("the last life does not end")
}

#[test]
fn one_death_is_answered_at_once() {
    let (after, life) = ends(&[3600.0], 0.0);
    assert!(life == 1 && after <= secs(1.2), "{after:?} in {life}");
    // The agent is younger than the app.
    let (after, life) = ends(&[3600.0], 3500.0);
    assert!(life == 1 && after <= secs(1.2), "{after:?} in {life}");
}

#[test]
fn an_agent_that_is_too_young_waits_for_its_time() {
    let (after, life) = ends(&[3600.0], 3597.0);
    assert!(
        life == 1 && after > secs(7.0) && after < secs(8.0),
        "{after:?}"
    );
    let (after, life) = ends(&[5.0], 0.0);
    assert!(
        life == 1 && after > secs(6.0) && after < secs(12.0),
        "{after:?}"
    );
}

#[test]
fn the_agent_never_ends_while_the_app_is_down_however_it_crashes() {
    for long in [0.0, 0.3, 2.0, 5.0, 3600.0] {
        for life in [0.01, 0.1, 0.3, 0.5, 1.3, 2.0, 2.9, 3.1, 5.0, 9.0, 11.0] {
            for crashes in 1..12 {
                let mut lives = vec![life; crashes];
                lives[0] += long;
                // It asserts what this test is about.
                let (_, ended) = ends(&lives, 0.0);
                assert!(ended >= 1);
            }
        }
    }
}

#[test]
fn a_crashing_app_that_lives_long_enough_gets_its_agent_while_it_crashes() {
    let (after, life) = ends(&[12.0; 5], 0.0);
    assert!(life == 1 && after <= secs(1.2), "{after:?} in {life}");
    let (_, life) = ends(&[4.0; 12], 0.0);
    assert!(life < 6, "{life}");
}

#[test]
fn an_agent_that_starts_in_the_moment_of_the_death_is_not_left_behind() {
    let (after, life) = ends(&[0.5], 0.6);
    assert!(life == 1 && after < secs(12.0), "{after:?} in {life}");
}

#[test]
fn without_a_loss_or_a_return_nothing_happens() {
    let begin = Instant::now();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let written = |seconds| {
        Some(Written {
            at: at(seconds),
            inode: 1,
        })
    };
    let mut watch = Watch::new(begin, written(0));
    let mut see = |second: u64, network, written| {
        watch.see(
            begin + Duration::from_secs(second),
            at(second),
            network,
            written,
        )
    };
    // There never was a network.
    assert!(!see(0, false, written(0)) && !see(40, false, written(0)));
    // The hosts file is written while all is well, as when a container joins another network.
    assert!(
        !see(60, true, written(50)) && !see(70, true, written(65)) && !see(90, true, written(65))
    );
    // The network is taken away and given back, which writes the file too.
    assert!(
        !see(100, false, written(65))
            && !see(101, false, written(101))
            && !see(102, true, written(101))
    );
    // The owner has stopped and stays away, and its hosts file with it.
    assert!(
        !see(110, false, written(101)) && !see(999, false, None) && !see(9999, false, written(101))
    );
}

#[test]
fn only_routes_to_elsewhere_are_a_network() {
    let heading = "Iface\tDestination\tGateway \tFlags\n";
    let v4 = format!("{heading}eth0\t00000000\t010011AC\t0003\n");
    let v6 = |device| {
        format!("00000000 00 00000000 00 00000000 ffffffff 00000001 00000000 00200200 {device}\n")
    };
    assert!(leads_out(&v4, &v6("lo")));
    assert!(leads_out(heading, &v6("eth0")));
    assert!(!leads_out(heading, &v6("lo")));
    assert!(!leads_out("", ""));
}

#[test]
fn a_container_has_its_hosts_file_mounted() {
    let line =
        "1047 1019 254:0 /docker/containers/ab/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw\n";
    assert!(is_mounted(line, "/etc/hosts"));
    assert!(!is_mounted(
        &line.replace("/etc/hosts", "/etc/hostname"),
        "/etc/hosts"
    ));
    assert!(!is_mounted("", "/etc/hosts"));
}
