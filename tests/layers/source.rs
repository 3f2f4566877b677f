//! What the layer test reads out of a Rust source: no parser, a scanner that is good enough for
//! formatted code and tested beside it.

/// Blanks comments and the contents of literals; everything else keeps its place.
pub(crate) fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = comment_len(rest).or_else(|| literal_len(rest, &out));
        let len = skipped.unwrap_or(c.len_utf8());
        out.push_str(if skipped.is_some() { " " } else { &rest[..len] });
        rest = &rest[len..];
    }
    out
}

fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    loop {
        match text.get(at..at + 2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ if at >= text.len() => return Some(text.len()),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Length of the string or character literal here; `before` tells `r"` from an identifier.
fn literal_len(text: &str, before: &str) -> Option<usize> {
    let inside_word = before.chars().next_back().is_some_and(is_word);
    if !inside_word && let Some(len) = raw_string_len(text) {
        return Some(len);
    }
    if text.starts_with('"') {
        return Some(quoted_len(text, '"'));
    }
    let mut after = text.strip_prefix('\'')?.chars();
    let (first, second) = (after.next()?, after.next()?);
    // 'a is a lifetime, 'a' is a character.
    (first == '\\' || second == '\'').then(|| quoted_len(text, '\''))
}

fn raw_string_len(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let prefix = text.len() - body.len();
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let found = body[hashes + 1..].find(&end);
    Some(prefix + found.map_or(body.len(), |at| hashes + 1 + at + end.len()))
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Takes out what only exists in tests; returns the names of test modules in files of their own.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut files) = (String::new(), Vec::new());
    let mut rest = code;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|a| rest.find(a))
        .min()
    {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_len(item);
        let declared = item[..end]
            .strip_suffix(';')
            .and_then(|item| item.split_once("mod "));
        if let Some((_, name)) = declared {
            files.push(name.trim().to_owned());
        }
        rest = &item[end..];
    }
    kept.push_str(rest);
    (kept, files)
}

/// An item ends with its `;` or with the brace that closes its body.
fn item_len(item: &str) -> usize {
    let mut depth = 0i32;
    for (at, c) in item.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth -= 1;
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// Names that directly follow the crate's root: in `crate::a`, `tenantry::{a, b::c}`, and in as
/// many `super::` as the file is deep.
pub(crate) fn used_modules(code: &str, depth: usize) -> Vec<String> {
    let mut names = Vec::new();
    for root in [
        "crate::".to_owned(),
        "tenantry::".to_owned(),
        "super::".repeat(depth),
    ] {
        for (at, _) in code.match_indices(&root) {
            let standalone = !code[..at].ends_with(|c: char| is_word(c) || c == ':');
            let rest = &code[at + root.len()..];
            if standalone && !rest.starts_with("super::") {
                names.extend(first_names(rest));
            }
        }
    }
    names
}

fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![path.chars().take_while(|c| is_word(*c)).collect()];
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.extend(first_names(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty() && name != "self");
    names
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
