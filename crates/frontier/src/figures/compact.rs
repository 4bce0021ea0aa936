//! SVG with what neighbouring elements share said once.

use std::fmt::Write as _;

/// An element without content: its place, and how it is painted.
struct Shape {
    /// Tag and position, as in `circle cx="1" cy="2" r="3"`.
    place: String,
    /// Colour, opacity and stroke.
    paint: String,
}

impl Shape {
    /// Reads a line of plotters' SVG; `None` for any that is more than one shape.
    fn read(line: &str) -> Option<Self> {
        let (tag, attributes) = line.strip_prefix('<')?.strip_suffix("/>")?.split_once(' ')?;
        let (mut place, mut fill, mut stroke, mut width, mut opacity) =
            (tag.to_owned(), "", "none", "1", "1");
        let mut parts = attributes.split('"');
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            match name.trim().trim_end_matches('=') {
                "fill" => fill = value,
                "stroke" => stroke = value,
                "stroke-width" => width = value,
                "opacity" => opacity = value,
                other => write!(place, " {other}=\"{}\"", value.trim_end()).ok()?,
            }
        }
        let mut paint = String::new();
        let mut say = |name: &str, value: &str, usual: &str| {
            let said = if value == usual { Ok(()) } else { write!(paint, " {name}=\"{value}\"") };
            said.ok()
        };
        say("fill", fill, "")?;
        // Of a group, `opacity` would hold for its shapes together and not for each.
        if !matches!(fill, "" | "none") {
            say("fill-opacity", opacity, "1")?;
        }
        if stroke != "none" {
            say("stroke", stroke, "")?;
            say("stroke-opacity", opacity, "1")?;
            say("stroke-width", width, "1")?;
        }
        Some(Self { place, paint })
    }
}

/// The same figure with neighbouring shapes of one paint in a group that carries it: about half as long.
pub(super) fn compact(svg: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut group: Vec<Shape> = Vec::new();
    for line in svg.lines() {
        let shape = Shape::read(line);
        if group.first().map(|first| &first.paint) != shape.as_ref().map(|shape| &shape.paint) {
            close(&mut group, &mut lines);
        }
        match shape {
            Some(shape) => group.push(shape),
            None => lines.push(line.to_owned()),
        }
    }
    close(&mut group, &mut lines);
    lines.push(String::new());
    lines.join("\n")
}

/// Moves what is in the group to the lines.
fn close(group: &mut Vec<Shape>, lines: &mut Vec<String>) {
    match group.as_slice() {
        [] => {}
        [one] => lines.push(format!("<{}{}/>", one.place, one.paint)),
        [first, ..] => {
            lines.push(format!("<g{}>", first.paint));
            lines.extend(group.iter().map(|shape| format!("<{}/>", shape.place)));
            lines.push("</g>".to_owned());
        }
    }
    group.clear();
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn neighbours_of_one_paint_share_a_group() {
        let circle = |x: i32, opacity: &str| {
            format!(
                "<circle cx=\"{x}\" cy=\"2\" r=\"3\" opacity=\"{opacity}\" fill=\"#000000\" stroke=\"none\" stroke-width=\"1\"/>\n"
            )
        };
        let line = "<polyline fill=\"none\" opacity=\"0.5\" stroke=\"#FF0000\" stroke-width=\"3\" points=\"1,2 3,4 \"/>\n";
        let text = "<text x=\"1\">\na / b\n</text>\n";
        let svg =
            format!("<svg>\n{}{}{}{text}{line}</svg>\n", circle(1, "0.4"), circle(2, "0.4"), circle(3, "1"));
        let expected = "<svg>\n\
            <g fill=\"#000000\" fill-opacity=\"0.4\">\n\
            <circle cx=\"1\" cy=\"2\" r=\"3\"/>\n\
            <circle cx=\"2\" cy=\"2\" r=\"3\"/>\n\
            </g>\n\
            <circle cx=\"3\" cy=\"2\" r=\"3\" fill=\"#000000\"/>\n\
            <text x=\"1\">\na / b\n</text>\n\
            <polyline points=\"1,2 3,4\" fill=\"none\" stroke=\"#FF0000\" stroke-opacity=\"0.5\" stroke-width=\"3\"/>\n\
            </svg>\n";
        assert_eq!(compact(&svg), expected);
    }
}
