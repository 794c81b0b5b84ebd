use super::*;

fn relabel(yaml: &str) -> Relabel {
    Relabel::from_yaml(yaml, "relabel.yaml", None).unwrap()
}

/// `yaml` turns `labels` into `expected`; `None` is dropped.
#[track_caller]
fn check(yaml: &str, labels: &[(&str, &str)], expected: Option<&[(&str, &str)]>) {
    let found = relabel(yaml).apply(&Labels::from_pairs(labels.iter().copied()));
    assert_eq!(found, expected.map(|pairs| Labels::from_pairs(pairs.iter().copied())), "{yaml}");
}

#[test]
fn each_action() {
    let labels = &[("a", "foo"), ("b", "Bar"), ("c", "baz")][..];
    let unchanged = Some(labels);
    check("- {action: keep, source_labels: [a, b], regex: 'foo;B.*'}", labels, unchanged);
    check("- {action: KEEP, source_labels: [a], regex: 'fo'}", labels, None);
    check("- {action: drop, source_labels: [a], regex: 'f.*'}", labels, None);
    check("- {action: drop, source_labels: [none], regex: '.+'}", labels, unchanged);
    check("- {action: keepequal, source_labels: [a], target_label: b}", labels, None);
    check("- {action: dropequal, source_labels: [a], target_label: a}", labels, None);
    check("- {action: labeldrop, regex: '[ab]'}", labels, Some(&[("c", "baz")]));
    check("- {action: labelkeep, regex: '[ab]'}", labels, Some(&labels[..2]));
    let mapped = &[("a", "foo"), ("b", "Bar"), ("c", "baz"), ("x_b", "Bar"), ("x_c", "baz")];
    check("- {action: labelmap, regex: '([bc])', replacement: 'x_$1'}", labels, Some(mapped));
    check("- {action: lowercase, source_labels: [b], target_label: b}", &[("b", "Bar")], Some(&[("b", "bar")]));
    check("- {action: uppercase, source_labels: [b], target_label: b}", &[("b", "Bar")], Some(&[("b", "BAR")]));
    let replaced = &[("a", "foo"), ("b", "Bar"), ("c", "baz"), ("d", "oo/Bar")];
    check(
        "- {source_labels: [a, b], regex: 'f(.*);(.*)', target_label: d, replacement: '$1/${2}'}",
        labels,
        Some(replaced),
    );
    check("- {source_labels: [a], regex: 'no', target_label: d, replacement: x}", labels, unchanged);
    // nothing to copy removes the target
    check("- {source_labels: [none], target_label: a}", labels, Some(&labels[1..]));
    check("- {target_label: a, replacement: static}", &[("a", "x")], Some(&[("a", "static")]));
    check("", labels, unchanged);
}

#[test]
fn hashes_are_those_of_prometheus() {
    // from Prometheus's own tests of relabelling
    check(
        "- {action: hashmod, source_labels: [c], target_label: d, separator: ';', modulus: 1000}",
        &[("a", "foo"), ("b", "bar"), ("c", "baz")],
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
    );
}

#[test]
fn rules_apply_in_order() {
    let yaml = "- {source_labels: [a], target_label: b}\n- {action: keep, source_labels: [b], regex: foo}\n- {action: labeldrop, regex: a}";
    check(yaml, &[("a", "foo")], Some(&[("b", "foo")]));
    check(yaml, &[("a", "bar")], None);
}

#[test]
fn mistakes_are_told() {
    for (yaml, message) in [
        ("- {action: keeep}", "relabel.yaml: rule 1: action \"keeep\" is not known"),
        ("- {action: hashmod, target_label: a}", "rule 1: action hashmod needs a modulus that is not zero"),
        ("- {target_label: a}\n- {replacement: x}", "rule 2: action replace needs target_label"),
        ("- {action: labeldrop, regex: a, target_label: b}", "action labeldrop takes only regex"),
        (
            "- {action: keepequal, source_labels: [a], target_label: b, regex: x}",
            "takes only source_labels and target_label",
        ),
        ("- {action: lowercase, target_label: b, replacement: x}", "action lowercase takes no replacement"),
        ("- {regex: '(', target_label: a}", "rule 1: regex: "),
        ("- {sauce_labels: [a]}", "relabel.yaml:1:"),
        ("action: keep", "relabel.yaml:1:"),
    ] {
        let error = Relabel::from_yaml(yaml, "relabel.yaml", None).unwrap_err().to_string();
        assert!(error.contains(message), "{yaml}: {error}");
    }
    let error = Relabel::from_yaml("- {target_label: a}", "x", Some(&SELECTING)).unwrap_err().to_string();
    assert_eq!(error, "x: rule 1: action replace is not one that chooses: keep, drop or hashmod");
}
