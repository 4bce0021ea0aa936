//! Chat templates against what `transformers` renders.

use std::path::PathBuf;

use feedback::chat::ChatTemplate;
use feedback::records::Message;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/chat_templates.json")).unwrap()
}

fn template(source: &str) -> ChatTemplate {
    let tokens = ["<s>", "</s>"].map(str::to_owned);
    ChatTemplate::new(PathBuf::from("a model"), source.to_owned(), tokens).unwrap()
}

fn messages(value: &Value) -> Vec<Message> {
    let text = |message: &Value, key: &str| message[key].as_str().unwrap().to_owned();
    let message = |value: &Value| Message { role: text(value, "role"), content: text(value, "content") };
    value.as_array().unwrap().iter().map(message).collect()
}

#[test]
fn conversations_read_as_transformers_renders_them() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 40);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let template = template(fixture["templates"][name].as_str().unwrap());
        let opens_answer = case["opens_answer"].as_bool().unwrap();
        let rendered = template.render(&messages(&case["messages"]), opens_answer);
        if let Some(text) = case["text"].as_str() {
            assert_eq!(rendered.unwrap(), text, "{name}");
        } else {
            let error = rendered.unwrap_err().to_string();
            assert_eq!(error, format!("chat template of a model: {}", case["error"].as_str().unwrap()));
        }
    }
}

#[test]
fn a_template_comes_from_its_own_file_or_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let load = || ChatTemplate::load(dir.path()).unwrap();
    let hello = [Message { role: "user".to_owned(), content: "hello".to_owned() }];
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    assert!(load().is_none());
    write("tokenizer_config.json", r#"{"eos_token": {"content": "<end>"}}"#);
    assert!(load().is_none());
    for template in [
        r#""one {{ messages[0].content }} {{ eos_token }}{{ bos_token }}""#,
        r#"[{"name": "tools", "template": "no"}, {"name": "default", "template": "one {{ messages[0]['content'] }} {{ eos_token }}"}]"#,
    ] {
        let config = format!(r#"{{"eos_token": {{"content": "<end>"}}, "chat_template": {template}}}"#);
        write("tokenizer_config.json", &config);
        assert_eq!(load().unwrap().render(&hello, false).unwrap(), "one hello <end>");
    }
    write("chat_template.jinja", "two {{ eos_token }}");
    assert_eq!(load().unwrap().render(&hello, false).unwrap(), "two <end>");
}

#[test]
fn damaged_templates_are_refused_by_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("tokenizer_config.json", "{");
    let error = ChatTemplate::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json: EOF"), "{error}");
    write("tokenizer_config.json", "{}");
    write("chat_template.jinja", "{% for m in messages %}");
    let error = ChatTemplate::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja: syntax error"), "{error}");
    write("chat_template.jinja", "{{ messages.nothing() }}");
    let template = ChatTemplate::load(dir.path()).unwrap().unwrap();
    let error = template.render(&[], false).unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");
}
