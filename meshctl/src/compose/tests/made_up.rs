//! Files that nobody wrote: all forms of each part of a service in all orders, and texts at random.

use proptest::prelude::*;

use super::{as_saved_elsewhere, goes_and_comes, inject, marks};

/// One service of a made-up file: its lines without indentation, and how deep each is.
fn service() -> impl Strategy<Value = Vec<&'static str>> {
    let part = |choices: &[&'static str]| proptest::sample::select(choices.to_vec());
    (
        part(&[
            "",
            "image: a # with\ta tab",
            "# nothing yet\nimage: 'ü'",
            "\n\nimage: \"a\"",
        ]),
        part(&[
            "",
            "ports:\n- \"80PORT:80PORT\"\n",
            "ports: ['1:80PORT', 9]",
            "ports:\n-   target: 80PORT\n    published: 80 # c",
            "ports: [\n  # c\n  {target: 80PORT}, '9:9',\n  ]",
        ]),
        part(&[
            "",
            "extra_hosts:\n- x:10.0.0.1 # c\n",
            "extra_hosts:\n  # c\n  x: 10.0.0.1",
            "extra_hosts: []",
            "extra_hosts: {x: 10.0.0.1,\n  y: 10.0.0.2}",
        ]),
        part(&[
            "labels: {mesh.service: sPORT, mesh.port: 80PORT}",
            "labels:\n- mesh.service=sPORT\n- 'mesh.port=http=80PORT'",
            "labels:\n  # c\n\n  mesh.service: sPORT\n  mesh.port: \"80PORT\"",
            "labels: {mesh.service: sPORT}",
            "",
        ]),
        part(&[
            "",
            "command: >-\n  a\n  # no comment\n\n  b\n\n",
            "command: |+\n  a\n\n\n",
            "# trailing",
            "command: [a,\n  b]",
            "command: 'a\n\n  b'",
        ]),
    )
        .prop_map(|(image, ports, hosts, labels, command)| {
            vec![image, ports, hosts, command, labels]
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn made_up_files_go_in_and_come_out_to_the_byte(
        services in prop::collection::vec((service(), any::<u64>()), 1..5),
        unit in 1_usize..5,
        before in proptest::sample::select(vec!["", "# c\n", "version: '3.7'\n\n", "volumes:\n  v:\n\n", "volumes: {}\n", "---\n"]),
        after in proptest::sample::select(vec!["", "\n\n", "# c\n  # d\n", "networks:\n  default:\n", "\n# c\nx: 1\n", "...\n"]),
        form in 0_usize..5,
    ) {
        let mut text = format!("{before}services:\n");
        for (number, (parts, order)) in services.iter().enumerate() {
            text += &format!("{:unit$}s{number}:\n", "");
            let mut parts = parts.clone();
            // At least one service is labelled, so that there is something to do.
            if number == 0 && parts[4].is_empty() {
                parts[4] = "labels: [mesh.service=s0]";
            }
            let turn = usize::try_from(order % 5).unwrap_or_default();
            parts.rotate_left(turn);
            let indent = " ".repeat(2 * unit);
            let mut is_empty = true;
            for part in parts.into_iter().filter(|part| !part.is_empty()) {
                for line in part.split('\n') {
                    let line = line.replace("PORT", &number.to_string());
                    text += &if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") };
                    is_empty &= line.is_empty() || line.starts_with('#');
                }
            }
            if is_empty {
                text += &format!("{indent}image: x\n");
            }
        }
        text += after;
        let text = as_saved_elsewhere(&text).swap_remove(form);
        goes_and_comes(&text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ a-c:\\-\\[\\]{}#&*<'\"|>\n]{0,80}") {
        let labelled = format!("services:\n  a:\n    labels: {{mesh.service: a}}\n{text}");
        for text in [text, labelled] {
            if let Ok(injected) = inject(&text) {
                prop_assert_eq!(marks::undo(&injected.text).unwrap(), text.as_str());
            }
            let _ = marks::undo(&text);
        }
    }
}
