//! The chat template of a model's folder, which is a program, and may work with 256 MB.
#![no_main]

use feedback::chat::ChatTemplate;
use feedback::records::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let message = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let messages = [message("system", ""), message("user", "a \"b\""), message("assistant", "c\n")];
    fuzz::bounded_by(300 << 20, || {
        let ends = ["<s>".to_owned(), "</s>".to_owned()];
        if let Ok(template) = ChatTemplate::new("model".into(), source.to_owned(), ends) {
            drop(template.render(&messages[..2], true));
            drop(template.render(&messages, false));
        }
    });
});
