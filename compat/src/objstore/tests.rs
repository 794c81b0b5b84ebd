use super::*;

fn refused(text: &str) -> String {
    from_yaml(text, "objstore.yaml").unwrap_err().to_string()
}

#[test]
fn good_files_open() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().display();
    let cases = [
        (format!("type: FILESYSTEM\nconfig:\n  directory: {folder}\n"), folder.to_string()),
        (format!("type: filesystem\nconfig: {{directory: \"{folder}\"}}\nprefix: /a/b/\n"), format!("{folder}/a/b")),
        (
            "type: S3\nconfig:\n  bucket: metrics\n  endpoint: minio:9000\n  insecure: true\n  access_key: a\n  \
             secret_key: b\n  http_config:\n    idle_conn_timeout: 1m30s\n    tls_config: {insecure_skip_verify: true}\n"
                .to_owned(),
            "s3://metrics".to_owned(),
        ),
        (
            "type: S3\nprefix: prod\nconfig:\n  bucket: m\n  endpoint: s3.eu-west-1.amazonaws.com\n  access_key: 123\n  \
             secret_key: b\n  region:\n  sse_config: {type: SSE-KMS, kms_key_id: k}\n"
                .to_owned(),
            "s3://m/prod".to_owned(),
        ),
        (
            "type: AZURE\nconfig:\n  container: c\n  storage_connection_string: \
             DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net\n"
                .to_owned(),
            "azure://acc/c".to_owned(),
        ),
    ];
    for (text, name) in cases {
        let opened = from_yaml(&text, "x").map(|bucket| bucket.name);
        assert_eq!(opened, Ok(name), "{text}");
    }
}

#[test]
fn a_prefix_is_part_of_the_folder() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("type: FILESYSTEM\nconfig: {{directory: '{}'}}\nprefix: p\n", directory.path().display());
    assert_eq!(from_yaml(&text, "x").unwrap().local_root, Some(directory.path().join("p")));
}

#[test]
fn harmless_settings_are_noted() {
    let text =
        "type: S3\nconfig: {bucket: m, endpoint: e, access_key: a, secret_key: b, part_size: 1, trace: {enable: true}}";
    let notes = from_yaml(text, "x").unwrap().notes;
    assert_eq!(notes, ["trace makes no difference here", "part_size makes no difference here"]);
}

#[test]
fn bad_files_are_refused_with_their_place() {
    let s3 = "type: S3\nconfig:\n  bucket: m\n  endpoint: e\n  access_key: a\n  secret_key: b\n";
    for (text, expected) in [
        ("type: SWIFT\nconfig: {}\n".to_owned(), vec!["objstore.yaml:1: type: SWIFT is not supported"]),
        ("config: {}\ntype: S4\n".to_owned(), vec!["objstore.yaml:2: type: unknown type \"S4\"", "FILESYSTEM"]),
        ("type: S3\nkonfig: {}\n".to_owned(), vec!["objstore.yaml:2:1: ", "`konfig`", "config"]),
        (format!("{s3}  bukket: m\n"), vec!["objstore.yaml:7:3: ", "`bukket`", "bucket_lookup_type"]),
        (format!("{s3}  http_config:\n    idle: 5\n"), vec!["objstore.yaml:8:5: ", "`idle`"]),
        (format!("{s3}  signature_version2: true\n"), vec!["objstore.yaml:7: signature_version2: only version 4"]),
        (format!("{s3}  list_objects_version: v1\n"), vec!["objstore.yaml:7: list_objects_version: only v2"]),
        (format!("{s3}  aws_sdk_auth: true\n"), vec!["objstore.yaml:7: aws_sdk_auth: "]),
        ("type: S3\nconfig: {endpoint: e}\n".to_owned(), vec!["objstore.yaml:2: config: bucket is missing"]),
        (
            "type: S3\nconfig:\n  bucket: m\n  endpoint: e\n  access_key: a\n".to_owned(),
            vec!["objstore.yaml:5: access_key: secret_key is missing"],
        ),
        (
            format!("{s3}  http_config: {{idle_conn_timeout: soon}}\n"),
            vec!["idle_conn_timeout: \"soon\" is not a duration"],
        ),
        (
            "type: FILESYSTEM\nconfig:\n  directory: /no/such/folder\n".to_owned(),
            vec!["objstore.yaml:3: directory: the folder /no/such/folder does not exist"],
        ),
        ("type: FILESYSTEM\n".to_owned(), vec!["objstore.yaml", "config"]),
        ("type: [\n".to_owned(), vec!["objstore.yaml:"]),
        (String::new(), vec!["objstore.yaml"]),
    ] {
        let message = refused(&text);
        for part in expected {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        assert!(!message.contains('\n'), "{message:?}");
    }
}

#[test]
fn secrets_do_not_show() {
    let text = "type: S3\nconfig: {bucket: m, endpoint: e, access_key: a, secret_key: hunter2}";
    assert!(!format!("{:?}", from_yaml(text, "x").unwrap()).contains("hunter2"));
}
