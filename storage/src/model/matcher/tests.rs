//! Matchers against what Go's regexp says.

use super::*;

fn matcher(pattern: &str) -> Matcher {
    Matcher::try_new(MatchOp::Regex, "l", pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
}

#[track_caller]
fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    let regex = matcher(pattern);
    for value in matching {
        assert!(regex.matches(value), "{pattern} should match {value:?}");
    }
    for value in other {
        assert!(!regex.matches(value), "{pattern} should not match {value:?}");
    }
}

#[track_caller]
fn check_error(pattern: &str, expected: &str) {
    let error = Matcher::try_new(MatchOp::Regex, "l", pattern).expect_err(pattern);
    assert_eq!(error.to_string(), format!("error parsing regexp: {expected}"));
}

#[test]
fn anchored_with_dot_all() {
    check("foo", &["foo"], &["foobar", "xfoo", ""]);
    check("a.c", &["abc", "a\nc", "a世c"], &["ac"]);
    check("(?-s)a.c", &["abc"], &["a\nc"]);
    check("a|b", &["a", "b"], &["ab", "ax", "xb"]);
    check("", &[""], &["a"]);
    check("(?m)a$\n^b", &["a\nb"], &["ab"]);
    check("^a$", &["a"], &["a\n"]);
    check(r"\Aa\z", &["a"], &["ab"]);
}

#[test]
fn classes_are_ascii() {
    check(r"\d+", &["09"], &["٣"]);
    check(r"\w+", &["aZ_9"], &["é"]);
    check(r"\W", &["é", "-"], &["a"]);
    check(r"\s", &[" ", "\t", "\n", "\x0c", "\r"], &["\x0b", "\u{a0}"]);
    check(r"[[:space:]]", &["\x0b"], &["\u{a0}"]);
    check(r"[[:word:]]+", &["a_1"], &["-"]);
    check(r"[[:^alpha:]]", &["1", "é"], &["a"]);
    check(r"é\b.*", &[], &["é", "é "]);
    check(r"é\B.*", &["é", "é "], &["éa"]);
    check(r"\pL+", &["aé世"], &["1"]);
    check(r"\p{Greek}", &["λ"], &["l"]);
    check(r"\P{Greek}\p{^Lu}", &["la"], &["λa", "lA"]);
}

#[test]
fn what_rust_reads_otherwise() {
    check("[[a]", &["[", "a"], &["]"]);
    check("[[a]]", &["[]", "a]"], &["a"]);
    check("[a&&b]", &["a", "&", "b"], &["a&&b"]);
    check("[a-c~~b]", &["~", "b"], &["d"]);
    check("a{,2}", &["a{,2}"], &["", "aa"]);
    check("a{2", &["a{2"], &["aa"]);
    check("{", &["{"], &[""]);
    check("a{02}", &["a{02}"], &["aa"]);
    check("]", &["]"], &[""]);
    check("[]a]", &["]", "a"], &["b"]);
    check("[^]a]", &["b"], &["]"]);
    check("[a-]", &["a", "-"], &["b"]);
    check(r"[\d-z]", &["5", "-", "z"], &["y"]);
    check(r"\Qa.b\E+", &["a.b", "a.bbb"], &["axb"]);
    check(r"\Qa.b", &["a.b"], &["axb"]);
    check(r"\07\x41\x{1F600}\101", &["\x07A😀A"], &[]);
    check(r"\-\_\ \#", &["-_ #"], &[]);
    check("a # b", &["a # b"], &[]);
    check("(?P<n>a)(?<m>b)", &["ab"], &[]);
    check("(?U)a+", &["aaa"], &[]);
    check("x{0}", &[""], &["x"]);
}

#[test]
fn case_folding() {
    check("(?i)stRasse", &["STRASSE", "strasse", "ſtrasse"], &["straße"]);
    check("(?i:a)b", &["Ab", "ab"], &["aB"]);
    check("a(?i)b", &["aB"], &["AB"]);
    check("(?i)[k]", &["K", "\u{212a}"], &["l"]);
    check(r"(?i)\W", &["-"], &["\u{212a}", "k"]);
    check("(?i)Δ", &["δ", "Δ"], &["d"]);
}

#[test]
fn errors_in_the_words_of_go() {
    check_error("(a", "missing closing ): `(a`");
    check_error("a)", "unexpected ): `a)`");
    check_error("[a", "missing closing ]: `[a`");
    check_error("*a", "missing argument to repetition operator: `*`");
    check_error("a|*", "missing argument to repetition operator: `*`");
    check_error("(+?)", "missing argument to repetition operator: `+?`");
    check_error("a**", "invalid nested repetition operator: `**`");
    check_error("a+*?b", "invalid nested repetition operator: `+*?`");
    check_error("a{1001}", "invalid repeat count: `{1001}`");
    check_error("a{2,1}", "invalid repeat count: `{2,1}`");
    check_error("a{99999999999}", "invalid repeat count: `{99999999999}`");
    check_error("(a{100}){11}", "invalid repeat count: `{11}`");
    check_error(r"a\", "trailing backslash at end of expression: ``");
    check_error(r"\Z", r"invalid escape sequence: `\Z`");
    check_error(r"\1", r"invalid escape sequence: `\1`");
    check_error(r"\8", r"invalid escape sequence: `\8`");
    check_error(r"\C", r"invalid escape sequence: `\C`");
    check_error(r"\u{41}", r"invalid escape sequence: `\u`");
    check_error(r"\xg1", r"invalid escape sequence: `\xg1`");
    check_error(r"\x{}", r"invalid escape sequence: `\x{}`");
    check_error(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
    check_error(r"[b-a]", "invalid character class range: `b-a`");
    check_error("[[:foo:]]", "invalid character class range: `[:foo:]`");
    check_error(r"\p{Foo}", r"invalid character class range: `\p{Foo}`");
    check_error(r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`");
    check_error("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
    check_error("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    check_error("(?!a)", "invalid or unsupported Perl syntax: `(?!`");
    check_error("(?<=a)", "invalid named capture: `(?<=a)`");
    check_error("(?<n!>a)", "invalid named capture: `(?<n!>`");
    check_error("(?i", "invalid or unsupported Perl syntax: `(?i`");
    check_error("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`");
    check_error("[a--c]", "invalid character class range: `a--`");
    check_error(r"\x4", r"invalid escape sequence: `\x4`");
}

#[test]
fn bounded() {
    let deep = format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Matcher::try_new(MatchOp::Regex, "l", deep).is_err());
    assert!(Matcher::try_new(MatchOp::Regex, "l", r"(\pL{30}\pN{30}.*){30}x").is_err());
    assert!(Matcher::try_new(MatchOp::Regex, "l", "a.".repeat(1 << 20)).is_err());
    let product =
        format!("{}({})", "x".repeat(100_000), (0..5000).map(|i| i.to_string()).collect::<Vec<_>>().join("|"));
    assert!(Matcher::try_new(MatchOp::Regex, "l", product).is_ok_and(|m| m.set_matches().is_none()));
    assert!(matcher(&"[a-z][a-z]|".repeat(10_000)).set_matches().is_none());
    assert!(!matcher("(a*)*(a*)*b").matches(&"a".repeat(50_000)));
}

#[test]
fn sets_and_prefixes_for_pruning() {
    let set = |pattern: &str| matcher(pattern).set_matches().map(<[String]>::to_vec);
    let some = |values: &[&str]| Some(values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
    assert_eq!(set("b|a|b"), some(&["a", "b"]));
    assert_eq!(set("api-(v1|v2)"), some(&["api-v1", "api-v2"]));
    assert_eq!(set("a[12]?"), some(&["a", "a1", "a2"]));
    assert_eq!(set("foo|"), some(&["", "foo"]));
    assert_eq!(set(r"a\.b"), some(&["a.b"]));
    assert_eq!(set("(?i)ab"), some(&["AB", "Ab", "aB", "ab"]));
    assert_eq!(set("a.*"), None);
    assert_eq!(
        set(&(0..3000).map(|i| format!("pod-{i}\\.x")).collect::<Vec<_>>().join("|")).map(|v| v.len()),
        Some(3000)
    );
    let prefix = |pattern: &str| matcher(pattern).prefix().map(str::to_owned);
    assert_eq!(prefix("foo.*").as_deref(), Some("foo"));
    assert_eq!(prefix("foo.+bar").as_deref(), Some("foo"));
    assert_eq!(prefix("(?i)foo.*"), None);
    assert_eq!(prefix(".*foo"), None);
    assert_eq!(prefix("a.*|b.*"), None);
}

#[test]
fn simple_forms() {
    check(".*", &["", "a\n"], &[]);
    check(".+", &["a", "\n"], &[""]);
    check("foo.*", &["foo", "foo\nx"], &["fo", "xfoo"]);
    check("foo.+", &["foox"], &["foo"]);
    check(".*foo", &["foo", "xfoo"], &["foox"]);
    check(".*foo.*", &["foo", "xfoox"], &["fo"]);
    check("a.*b", &["ab", "axb"], &["a", "b"]);
    let not = Matcher::try_new(MatchOp::NotRegex, "l", "a|b").unwrap();
    assert!(not.matches("c") && !not.matches("a") && not.matches_empty());
}

#[test]
fn display() {
    let matcher = Matcher::try_new(MatchOp::NotRegex, "l", "a\"\u{1}").unwrap();
    assert_eq!(matcher.to_string(), r#"l!~"a\"\x01""#);
    assert_eq!(Matcher::equal("service.name", "x").to_string(), r#""service.name"="x""#);
}

#[test]
fn label_replace() {
    let check = |pattern: &str, input: &str, template: &str, expected: Option<&str>| {
        let regex = ReplaceRegex::try_new(pattern).unwrap();
        assert_eq!(regex.expand(input, template).as_deref(), expected, "{pattern} {input} {template}");
    };
    check("(.*):.*", "a:c", "$1", Some("a"));
    check("(.*):.*", "ac", "$1", None);
    check("source-(?P<v>.*)", "source-x", "d-${v}-$v-$1-$0", Some("d-x-x-x-source-x"));
    check("(a)(b)?", "a", "[$2|$3|$1x|${1}x|$$1|$|${|$ 1|${1]", Some("[|||ax|$1|$|${|$ 1|${1]"));
    check("(?<x>a)|(?<x>b)", "b", "$x", Some("b"));
    check("(a|ab)(c|bcd)?", "abcd", "$1,$2", Some("a,bcd"));
    check("(.+?)(b*)", "abb", "$1,$2", Some("a,bb"));
    check("(a)", "a", "$01", Some(""));
    let error = ReplaceRegex::try_new("(").unwrap_err().to_string();
    assert_eq!(error, "error parsing regexp: missing closing ): `^(?s:()$`");
}
