//! Tables for people: columns as wide as they have to be.

/// Lays out `rows` under `header`, two spaces between columns and no spaces at line ends. The titles have `|` between
/// them; one that begins with `>` is of a column that is aligned at the right.
///
/// Width is counted in characters, which is right for the text that this command prints (ASCII and `µ`).
pub fn render(header: &str, rows: &[Vec<String>]) -> String {
    let header: Vec<(&str, bool)> = header
        .split('|')
        .map(|title| match title.strip_prefix('>') {
            Some(title) => (title, true),
            None => (title, false),
        })
        .collect();
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, (title, _))| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, (_, right)), &width) in cells.zip(&header).zip(&widths) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            match right {
                false => text.push_str(&format!("{cell:<width$}")),
                true => text.push_str(&format!("{cell:>width$}")),
            }
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut header.iter().map(|(title, _)| *title));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let rows = vec![
            vec!["page".to_owned(), "24,415".to_owned(), "x".to_owned()],
            vec!["repeat".to_owned(), "1".to_owned(), "".to_owned()],
        ];
        assert_eq!(
            render("strategy|>ops|note", &rows),
            "strategy     ops  note\n\
             page      24,415  x\n\
             repeat         1\n"
        );
    }
}
