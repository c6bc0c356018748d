//! `'text %s' % value`, which the engine does not know, as the filter that does the same.

/// The template with every `%` behind a text literal as `|format(..)`.
pub fn formatted(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('{') {
        let end = match rest[start + 1..].chars().next() {
            Some('#') => rest[start..].find("#}").map(|end| start + end + 2),
            Some('{' | '%') => {
                let close = if rest[start + 1..].starts_with('%') { "%}" } else { "}}" };
                out.push_str(&rest[..start + 2]);
                let inner = &rest[start + 2..];
                let end = end_of(inner, close);
                out.push_str(&expression(&inner[..end]));
                rest = &inner[end..];
                continue;
            }
            _ => Some(start + 1),
        };
        let end = end.unwrap_or(rest.len());
        out.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    out + rest
}

/// Where a tag ends: at the first `close` outside of its literals.
fn end_of(tag: &str, close: &str) -> usize {
    let mut at = 0;
    while at < tag.len() {
        if tag[at..].starts_with(close) {
            return at;
        }
        at += piece(&tag[at..]);
    }
    tag.len()
}

/// Bytes of the literal or the character that a text begins with.
fn piece(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else { return 0 };
    if first != '\'' && first != '"' {
        return first.len_utf8();
    }
    let mut escaped = false;
    for (at, c) in chars {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == first => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn expression(text: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    while at < text.len() {
        let len = piece(&text[at..]);
        out.push_str(&text[at..at + len]);
        at += len;
        let behind = text[at..].trim_start();
        if let Some(operand) = behind.strip_prefix('%').filter(|_| len > 1 && is_literal(&out)) {
            let operand = operand.trim_start();
            let end = operand_end(operand);
            let inner = expression(&operand[..end]);
            // One in brackets is a tuple, or a value that brackets do nothing to.
            let whole = operand.starts_with('(') && bracket_end(operand) == end;
            out += &if whole { format!("|format{inner}") } else { format!("|format({inner})") };
            at = text.len() - operand.len() + end;
        }
    }
    out
}

fn is_literal(text: &str) -> bool {
    text.ends_with(['\'', '"'])
}

/// Where a value ends: a name, a number, a literal or a bracket with what is called or taken of it.
fn operand_end(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        at += match rest.chars().next() {
            Some('(' | '[' | '{') => bracket_end(rest),
            Some('\'' | '"') if at == 0 => piece(rest),
            Some('.' | '|') => 1,
            _ if word > 0 => word,
            _ => return at,
        };
    }
}

/// Behind the bracket that closes the one a text begins with.
fn bracket_end(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        match text.as_bytes()[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += piece(&text[at..]);
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_formatted_and_nothing_else() {
        for (text, want) in [
            ("{{ '%s' % x }}", "{{ '%s'|format(x) }}"),
            ("{{ '%s-%d' % (a, b[1]) ~ 'c' }}", "{{ '%s-%d'|format(a, b[1]) ~ 'c' }}"),
            (
                "{%- set y = \"%s\" % m['a'].b|upper %}",
                "{%- set y = \"%s\"|format(m['a'].b|upper) %}",
            ),
            ("{{ '%s' % ('%d' % 3) }}", "{{ '%s'|format('%d'|format(3)) }}"),
            ("{% if x == 'a' %}{{ 7 % 2 }}{% endif %}", "{% if x == 'a' %}{{ 7 % 2 }}{% endif %}"),
            ("{# '%s' % x #}'%s' % x {{", "{# '%s' % x #}'%s' % x {{"),
            ("{{ 'it\\'s %s' % ü }}", "{{ 'it\\'s %s'|format(ü) }}"),
            ("{{ '%", "{{ '%"),
            ("{{ 'a' %", "{{ 'a'|format()"),
        ] {
            assert_eq!(formatted(text), want);
        }
    }
}
