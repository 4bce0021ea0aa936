//! Chat templates against what `transformers` renders.

use std::path::{Path, PathBuf};

use feedback::chat::ChatTemplate;
use feedback::records::Message;
use lm::Tokenizer;
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
fn a_tokenizer_brings_its_template_and_the_texts_of_its_ends() {
    let tokenizer = Tokenizer::train(&["a"], 258).unwrap();
    let folder = Path::new("a model");
    assert!(ChatTemplate::of(&tokenizer, folder).unwrap().is_none());
    let source = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}";
    let tokenizer = tokenizer.with_chat_template(Some(source.to_owned()));
    let template = ChatTemplate::of(&tokenizer, folder).unwrap().unwrap();
    let hello = [Message { role: "user".to_owned(), content: "hello".to_owned() }];
    assert_eq!(template.render(&hello, false).unwrap(), "<|endoftext|>hello<|endoftext|>");
}

#[test]
fn damaged_templates_are_refused_by_their_folder() {
    let read = |source: &str| {
        let tokenizer = Tokenizer::train(&["a"], 258).unwrap().with_chat_template(Some(source.to_owned()));
        ChatTemplate::of(&tokenizer, Path::new("a model"))
    };
    let error = read("{% for m in messages %}").unwrap_err().to_string();
    assert!(error.starts_with("chat template of a model: syntax error"), "{error}");
    let error =
        read("{{ messages.nothing() }}").unwrap().unwrap().render(&[], false).unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");
}

#[test]
fn a_template_that_would_never_end_is_stopped() {
    let user = Message { role: "user".to_owned(), content: "a film ".repeat(1000) };
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(1000) %}words{% endfor %}{% endfor %}",
        "{% set all = namespace(text='x') %}{% for a in range(60) %}{% set all.text = all.text ~ all.text %}{% endfor %}",
        "{{ 'words' * 1000000000 }}",
    ] {
        let error = template(source).render(std::slice::from_ref(&user), false).unwrap_err().to_string();
        assert!(error.contains("it does more work than a conversation can need"), "{source}: {error}");
    }
    // 7 MB in a thousand turns are no trouble.
    let source =
        "{% for message in messages %}{{ message.role }}: {{ message.content | trim }}\n{% endfor %}";
    let text = template(source).render(&vec![user; 1000], true).unwrap();
    assert_eq!(text.len(), 1000 * ("user: \n".len() + 6999));
}
