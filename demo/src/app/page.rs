//! The webapp's page: plain HTML, readable without a script, whose title and colour tell the version.

use std::fmt::Write as _;

use super::chain::Hop;
use super::fleet_data::Vehicle;
use super::role::Version;

/// The whole page.
pub(crate) fn render(version: Version, vehicles: &[Vehicle], chain: &Hop) -> String {
    let title = version.title();
    let colour = version.colour();
    let banner = match version {
        Version::Original => "The page that everybody knows.",
        Version::Experimental => "You are looking at the experimental version.",
    };
    let mut page = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --lead: {colour}; color-scheme: light; }}
body {{ margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #222; background: #f6f7f9; }}
header {{ padding: 1.2rem 2rem; color: #fff; background: var(--lead); }}
header h1 {{ margin: 0; font-size: 1.5rem; }}
header p {{ margin: .2rem 0 0; opacity: .9; }}
main {{ max-width: 56rem; margin: 1.5rem auto; padding: 0 1rem; }}
section {{ margin-bottom: 1.5rem; padding: 1rem 1.5rem; background: #fff; border-radius: 8px; border-top: 4px solid var(--lead); box-shadow: 0 1px 3px #0002; }}
h2 {{ margin: 0 0 .6rem; font-size: 1.1rem; }}
table {{ width: 100%; border-collapse: collapse; }}
th, td {{ padding: .3rem .5rem; text-align: left; border-bottom: 1px solid #eee; }}
td.number {{ font-variant-numeric: tabular-nums; }}
ul {{ margin: 0; padding-left: 1.2rem; }}
.lost {{ color: #b00020; font-weight: 600; }}
</style>
</head>
<body>
<header><h1>{title}</h1><p>{banner}</p></header>
<main>
"#
    );
    if chain.failed() {
        page.push_str(
            "<section><p class=\"lost\">Something behind this page did not answer: see the way of this request.</p></section>\n",
        );
    }
    vehicle_table(&mut page, vehicles);
    page.push_str("<section><h2>The way of this request</h2>\n<ul>\n");
    hop(&mut page, chain);
    page.push_str("</ul>\n</section>\n</main>\n</body>\n</html>\n");
    page
}

fn vehicle_table(page: &mut String, vehicles: &[Vehicle]) {
    page.push_str("<section><h2>Vehicles</h2>\n");
    if vehicles.is_empty() {
        page.push_str("<p>No vehicle has been seen yet.</p>\n</section>\n");
        return;
    }
    page.push_str(
        "<table>\n<tr><th>Vehicle</th><th>Driver</th><th>Position</th><th>Speed</th></tr>\n",
    );
    for vehicle in vehicles {
        let speed = vehicle
            .speed_kmh
            .map_or("unknown".to_owned(), |speed| format!("{speed:.0} km/h"));
        let line = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{:.4}, {:.4}</td><td class=\"number\">{speed}</td></tr>",
            escape(&vehicle.vehicle),
            escape(vehicle.driver.as_deref().unwrap_or("unknown")),
            vehicle.latitude,
            vehicle.longitude,
        );
        line.expect("a String takes everything that is written to it");
    }
    page.push_str("</table>\n</section>\n");
}

fn hop(page: &mut String, hop_: &Hop) {
    page.push_str("<li>");
    page.push_str(&escape(&hop_.app));
    if !hop_.workload.is_empty() && hop_.workload != hop_.app {
        page.push_str(" (");
        page.push_str(&escape(&hop_.workload));
        page.push(')');
    }
    if let Some(error) = &hop_.error {
        page.push_str(" <span class=\"lost\">");
        page.push_str(&escape(error));
        page.push_str("</span>");
    }
    if !hop_.calls.is_empty() {
        page.push_str("\n<ul>\n");
        for call in &hop_.calls {
            hop(page, call);
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</li>\n");
}

/// What other apps say is text, never markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(calls: Vec<Hop>) -> Hop {
        Hop {
            app: "webapp".to_owned(),
            workload: "webapp-original".to_owned(),
            version: Some("original".to_owned()),
            error: None,
            calls,
        }
    }

    #[test]
    fn title_and_colour_tell_the_version() {
        let original = render(Version::Original, &[], &chain(Vec::new()));
        let experimental = render(Version::Experimental, &[], &chain(Vec::new()));
        for (page, version) in [
            (&original, Version::Original),
            (&experimental, Version::Experimental),
        ] {
            assert!(page.contains(&format!("<title>{}</title>", version.title())));
            assert!(page.contains(version.colour()));
        }
        assert!(!original.contains(Version::Experimental.colour()));
        assert!(!original.contains("class=\"lost\""));
    }

    #[test]
    fn shows_failures_and_escapes_what_others_said() {
        let lost = Hop::lost("fleetman-staff-service", "503: <script>alert(1)</script>");
        let page = render(Version::Original, &[], &chain(vec![lost]));
        assert!(page.contains("class=\"lost\""));
        assert!(page.contains("503: &lt;script&gt;"));
        assert!(!page.contains("<script>"));
    }

    #[test]
    fn lists_vehicles_with_what_is_known() {
        let vehicle = Vehicle {
            vehicle: "River Barge".to_owned(),
            latitude: 53.4,
            longitude: -1.5,
            speed_kmh: None,
            driver: Some("Farid Rahimi".to_owned()),
        };
        let page = render(Version::Experimental, &[vehicle], &chain(Vec::new()));
        assert!(page.contains("<td>River Barge</td><td>Farid Rahimi</td>"));
        assert!(page.contains("unknown"));
    }
}
