use super::*;

/// The tokens' texts, or the fault's position and message.
fn check(text: &str, expected: &[&str]) {
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    loop {
        match lexer.next_token() {
            Ok(Token { kind: TokenKind::Eof, .. }) => break,
            Ok(token) => found.push(text[token.span.start..token.span.end].to_string()),
            Err(fault) => {
                found.push(format!("{}: {}", fault.span.start, fault.message));
                break;
            }
        }
    }
    assert_eq!(found, expected, "{text}");
}

#[test]
fn splits() {
    check(
        "a{b=~\"c\",d!='e'}[5m:1m]",
        &["a", "{", "b", "=~", "\"c\"", ",", "d", "!=", "'e'", "}", "[", "5m", ":", "1m", "]"],
    );
    check("1+.5e3 </ >/ a:b # rest\n*2", &["1", "+", ".5e3", "</", ">/", "a:b", "*", "2"]);
    check("x[ step() - 1 ]", &["x", "[", "step", "(", ")", "-", "1", "]"]);
    check("{ # no } here\n}", &["{", "}"]);
}

#[test]
fn tells_faults() {
    check("a ~", &["a", "2: unexpected character: '~'"]);
    check("a =~", &["a", "2: unexpected character after '=': '~'"]);
    check("!x", &["0: unexpected character after '!': 'x'"]);
    check("a)", &["a", "2: unexpected right parenthesis ')'"]);
    check("(a", &["(", "a", "2: unclosed left parenthesis"]);
    check("a[5m", &["a", "[", "5m", "4: unclosed left bracket"]);
    check("a[", &["a", "[", "2: unexpected end of input in duration expression"]);
    check("a[:", &["a", "[", "3: unexpected colon before duration in duration expression"]);
    check("a[5m[", &["a", "[", "5m", "4: unexpected left bracket '['"]);
    check("a[5m a", &["a", "[", "5m", "5: unexpected character: 'a', expected ':'"]);
    check("a]", &["a", "1: unexpected right bracket ']'"]);
    check("{a+", &["{", "a", "2: unexpected character inside braces: '+'"]);
    check("{{", &["{", "1: unexpected left brace '{'"]);
    check("1f", &["0: bad number or duration syntax: \"1\""]);
    check("5m3", &["0: bad number or duration syntax: \"5m3\""]);
    check("5mx", &["0: bad number or duration syntax: \"5mx\""]);
    check("\"a", &["0: unterminated quoted string"]);
    check("`a", &["0: unterminated raw string"]);
    check(r#""\q""#, &["0: unknown escape sequence U+0071 'q'"]);
    check(r#""\xg0""#, &["0: illegal character U+0067 'g' in escape sequence"]);
    check(r#""\400""#, &["0: escape sequence is an invalid Unicode code point"]);
}

#[test]
fn values_of_numbers() {
    for (text, value) in [
        ("1", 1.0),
        ("1_000", 1000.0),
        ("0x1F", 31.0),
        ("0x_1f", 31.0),
        ("010", 8.0),
        ("089", 89.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("iNf", f64::INFINITY),
        ("9223372036854775808", 9_223_372_036_854_775_808.0),
    ] {
        assert_eq!(scan_all(text), Some(TokenKind::Number), "{text}");
        assert_eq!(parse_number(text), Ok(value), "{text}");
    }
    assert!(parse_number("NaN").unwrap().is_nan());
    assert!(parse_number("0x").unwrap_err().ends_with("parsing \"0x\": invalid syntax"));
    assert!(parse_number("1e999").unwrap_err().ends_with("value out of range"));
    assert!(parse_number("1_").is_err());
}

fn scan_all(text: &str) -> Option<TokenKind> {
    let token = Lexer::new(text).next_token().ok()?;
    (token.span.end == text.len()).then_some(token.kind)
}

#[test]
fn values_of_durations() {
    for (text, seconds) in [("5m", 300.0), ("1h30m", 5400.0), ("1y2w3d", 33_004_800.0), ("1s500ms", 1.5)] {
        assert_eq!(scan_all(text), Some(TokenKind::Duration), "{text}");
        assert_eq!(parse_duration(text), Ok(seconds), "{text}");
    }
    assert_eq!(parse_duration("1m1h"), Err("not a valid duration string: \"1m1h\"".to_string()));
    assert_eq!(parse_duration("1hs"), Err("unknown unit \"hs\" in duration \"1hs\"".to_string()));
    assert_eq!(parse_duration("300y"), Err("duration out of range".to_string()));
}

#[test]
fn values_of_strings() {
    for (text, bytes) in [
        (r#""a\n\"b""#, b"a\n\"b".as_slice()),
        (r"'\'\\'", b"'\\"),
        (r"`\n`", b"\\n"),
        (r#""\xff\377\u00e9\U0001F600""#, b"\xff\xff\xc3\xa9\xf0\x9f\x98\x80"),
    ] {
        assert_eq!(scan_all(text), Some(TokenKind::String), "{text}");
        assert_eq!(unquote(text).as_deref(), Some(bytes), "{text}");
    }
}
