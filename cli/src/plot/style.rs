//! What all pictures share: the sheet, the inks, text, and the way into a file.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use tempfile::NamedTempFile;

// An opaque, nearly white sheet: the picture looks the same on a light and on a dark page.
pub const SHEET: RGBColor = RGBColor(250, 249, 246);
pub const INK: RGBColor = RGBColor(38, 42, 51);
pub const QUIET: RGBColor = RGBColor(106, 112, 124);
pub const GRID: RGBColor = RGBColor(222, 221, 215);

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = Result<(), String>;

/// A colour for each strategy, the same in every picture; told apart by the colour-blind too.
pub fn colour(strategy: &str) -> RGBColor {
    match strategy {
        "page" => RGBColor(196, 98, 45),
        "chunk" => RGBColor(214, 160, 48),
        "repeat" => RGBColor(48, 122, 168),
        "sparse" => RGBColor(38, 140, 112),
        _ => QUIET,
    }
}

pub fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A picture as SVG text: a sheet of so many pixels, and what `draw` puts on it.
pub fn picture(
    (width, height): (i32, i32),
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let size = (width as u32, height as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&SHEET).map_err(failed)?;
        draw(&root)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// How text looks: pixels, the ink, and what of it is at its place.
pub struct Font(i32, RGBColor, HPos);

pub fn ink(size: i32) -> Font {
    Font(size, INK, HPos::Left)
}

pub fn quiet(size: i32) -> Font {
    Font(size, QUIET, HPos::Left)
}

impl Font {
    pub fn centred(self) -> Font {
        Font(self.0, self.1, HPos::Center)
    }

    pub fn right(self) -> Font {
        Font(self.0, self.1, HPos::Right)
    }
}

pub fn text(area: &Area<'_>, what: &str, at: (i32, i32), font: Font) -> Drawn {
    let Font(size, ink, align) = font;
    let style = ("sans-serif", size)
        .into_text_style(area)
        .color(&ink)
        .pos(Pos::new(align, VPos::Center));
    area.draw(&Text::new(what, at, style)).map_err(failed)
}

/// The first two lines of a picture, `margin` from its edges.
pub fn heading(area: &Area<'_>, margin: i32, title: &str, subtitle: &str) -> Drawn {
    text(area, title, (margin, margin + 2), ink(23))?;
    text(area, subtitle, (margin, margin + 30), quiet(15))
}

pub fn line(area: &Area<'_>, from: (i32, i32), to: (i32, i32), ink: RGBColor) -> Drawn {
    area.draw(&PathElement::new(vec![from, to], ink.stroke_width(1)))
        .map_err(failed)
}

pub fn rectangle(area: &Area<'_>, from: (i32, i32), to: (i32, i32), ink: RGBColor) -> Drawn {
    area.draw(&Rectangle::new([from, to], ink.filled()))
        .map_err(failed)
}

/// Writes a picture to `path`: whole, or not at all. The error says what the file system said.
pub fn save(path: &Path, svg: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("writing {}: {error}", path.display());
    // A device or a pipe is written to, not replaced.
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return fs::write(path, svg).map_err(failed);
    }
    let (target, mut file) = beside(path, ".panvk-sparse-").map_err(failed)?;
    file.write_all(svg.as_bytes()).map_err(failed)?;
    file.persist(&target).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A new file in the folder of what `path` leads to, through links, to be put in its place; and that place.
pub fn beside(path: &Path, prefix: &str) -> io::Result<(PathBuf, NamedTempFile)> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .prefix(prefix)
        // What is left of it is the umask's to say, as with any new file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    Ok((target, file))
}
