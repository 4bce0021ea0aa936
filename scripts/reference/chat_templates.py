"""Chat templates as `transformers` renders them, for the tests of `crates/feedback`.

    python scripts/reference/chat_templates.py

The templates are ours, in the styles that are in use: ChatML with a default system prompt, headers with a begin token,
instruction brackets that refuse some orders of roles, renamed roles, and one that uses what Hugging Face adds to Jinja
(loop controls, `tojson`, `generation`) and Python's methods.
"""

import json
from pathlib import Path

import transformers
from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

OUT = Path(__file__).parents[2] / "crates/feedback/tests/fixtures/chat_templates.json"

TEMPLATES = {
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "headers": """{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set date_string = "today" %}
{%- else %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "brackets": """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}""",
    "turns": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
    {% if (message['role'] == 'assistant') %}
        {% set role = 'model' %}
    {% else %}
        {% set role = message['role'] %}
    {% endif %}
<start_of_turn>{{ role }}
{{ message['content'] | trim }}<end_of_turn>
{% endfor %}
{% if add_generation_prompt %}
<start_of_turn>model
{% endif %}
""",
    "additions": """{%- macro shout(text) -%}{{ text.upper() }}{%- endmacro -%}
{%- set ns = namespace(seen=0) -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}{%- continue -%}{%- endif -%}
    {%- if ns.seen == 3 -%}{%- break -%}{%- endif -%}
    {%- set ns.seen = ns.seen + 1 -%}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}{{ message.content.split('</think>')[-1].lstrip('\\n') }}{{ eos_token }}{%- endgeneration -%}
    {%- elif message.content.startswith('/') -%}
        {{ shout(message.role) }}: {{ message | tojson }}
    {%- else -%}
        {{ message.role.title() }}: {{ message.content.strip() | replace('<', '(') }} ({{ message.content | length }})
    {%- endif -%}
    {{ '\\n' if not loop.last else '' }}
{%- endfor -%}
{%- if add_generation_prompt is defined and add_generation_prompt %}{{ '\\nAssistant:' }}{% endif -%}
{%- if tools is not none and tools %}{{ raise_exception('no tools here') }}{% endif -%}
""",
}

CONVERSATIONS = [
    [{"role": "user", "content": "Is 2 < 3 & \"so\" on? "}],
    [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "/help é \"quoted\" <b>"},
    ],
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "thought</think>\n\nHi there."},
        {"role": "user", "content": "  Bye\n"},
        {"role": "assistant", "content": "So long."},
    ],
    [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
]


def render(template, messages, opens_answer):
    try:
        rendered, _ = render_jinja_template(
            [messages],
            chat_template=template,
            add_generation_prompt=opens_answer,
            bos_token="<s>",
            eos_token="</s>",
        )
        return {"text": rendered[0]}
    except TemplateError as error:
        return {"error": str(error)}


def main():
    from transformers.utils import chat_template_utils

    # Ours has no clock: a template that asks for one takes its fixed date.
    compiled = chat_template_utils._compile_jinja_template
    chat_template_utils._compile_jinja_template = lambda source: without_clock(compiled(source))
    cases = [
        {"template": name, "messages": messages, "opens_answer": opens, **render(source, messages, opens)}
        for name, source in TEMPLATES.items()
        for messages in CONVERSATIONS
        for opens in (False, True)
    ]
    about = f"scripts/reference/chat_templates.py, transformers {transformers.__version__}"
    OUT.write_text(json.dumps({"about": about, "templates": TEMPLATES, "cases": cases}, indent=1) + "\n")


def without_clock(template):
    template.environment.globals.pop("strftime_now", None)
    template.globals.pop("strftime_now", None)
    return template


if __name__ == "__main__":
    main()
