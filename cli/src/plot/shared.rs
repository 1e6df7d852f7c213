//! Lines that lie on each other: they take turns, so that every colour is seen.

/// The pixels of one turn.
const TURN: i32 = 14;
/// Lines as close as this are not told apart, in pixels.
const CLOSE: i32 = 1;

pub type Point = (i32, i32);

/// What of each path is drawn, as polylines. The n-th points of all paths have the same x, which does not fall along a
/// path. Where several paths lie on each other each has a piece in turn, and the pieces together are the whole line.
pub fn turns(paths: &[Vec<Point>]) -> Vec<Vec<Vec<Point>>> {
    (0..paths.len()).map(|line| drawn(paths, line)).collect()
}

fn drawn(paths: &[Vec<Point>], line: usize) -> Vec<Vec<Point>> {
    let mut drawn: Vec<Vec<Point>> = Vec::new();
    for (i, ends) in paths[line].windows(2).enumerate() {
        let (turn, of) = rank(paths, line, i);
        let [from, to] = [ends[0], ends[1]];
        for n in from.0.div_euclid(TURN)..=to.0.div_euclid(TURN) {
            let (a, b) = (from.0.max(n * TURN), to.0.min((n + 1) * TURN));
            // The last turn may have no pixel of this segment; an upright segment is one turn's.
            if n.rem_euclid(of) != turn || (a == b && from.0 != to.0) {
                continue;
            }
            let start = if a == from.0 { from } else { at(from, to, a) };
            let end = if b == to.0 { to } else { at(from, to, b) };
            match drawn.last_mut() {
                Some(open) if open.last() == Some(&start) => open.push(end),
                _ => drawn.push(vec![start, end]),
            }
        }
    }
    drawn
}

/// The point of the segment at `x`.
fn at(from: Point, to: Point, x: i32) -> Point {
    let share = f64::from(x - from.0) / f64::from(to.0 - from.0);
    let y = f64::from(from.1) + share * f64::from(to.1 - from.1);
    (x, y.round() as i32)
}

/// Which turn is `line`'s in segment `i`, and how many have turns there.
fn rank(paths: &[Vec<Point>], line: usize, i: usize) -> (i32, i32) {
    let leaders: Vec<Option<usize>> = (0..paths.len()).map(|k| leader(paths, k, i)).collect();
    let with = |k: &usize| leaders[*k].is_some() && leaders[*k] == leaders[line];
    let before = (0..line).filter(with).count();
    let all = (0..paths.len()).filter(with).count();
    (before as i32, all.max(1) as i32)
}

/// The first path that `line` lies on in segment `i`, itself where there is none. None where it has no such segment.
fn leader(paths: &[Vec<Point>], line: usize, i: usize) -> Option<usize> {
    let ends = paths[line].get(i..i + 2)?;
    let close = |other: &Vec<Point>| {
        let Some(others) = other.get(i..i + 2) else {
            return false;
        };
        ends.iter()
            .zip(others)
            .all(|(a, b)| (a.1 - b.1).abs() <= CLOSE)
    };
    // One that follows another itself leads nobody: the groups are apart from each other.
    let leads = |&k: &usize| close(&paths[k]) && leader(paths, k, i) == Some(k);
    Some((0..line).find(leads).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(lines: &[Vec<Point>]) -> Vec<i32> {
        let spans = lines.iter().flat_map(|line| line.windows(2));
        spans.flat_map(|ends| ends[0].0..ends[1].0).collect()
    }

    #[test]
    fn a_line_of_its_own_is_drawn_whole_and_those_that_coincide_take_turns() {
        let one = vec![(0, 50), (100, 50), (200, 0)];
        let alone = vec![(0, 90), (100, 90), (200, 80)];
        let drawn = turns(&[one.clone(), alone.clone(), one.clone()]);
        let whole: Vec<Point> = drawn[1].concat();
        assert_eq!(drawn[1].len(), 1);
        assert!(alone.iter().all(|point| whole.contains(point)));
        let (a, b) = (pixels(&drawn[0]), pixels(&drawn[2]));
        assert!(a.iter().all(|x| !b.contains(x)));
        for x in 0..200 {
            assert!(a.contains(&x) || b.contains(&x), "nothing at {x}");
        }
        assert!(a.len().abs_diff(b.len()) <= TURN as usize);
    }

    #[test]
    fn lines_part_where_their_values_do() {
        let low = vec![(0, 10), (140, 10), (280, 10)];
        let high = vec![(0, 10), (140, 10), (280, 90)];
        let drawn = turns(&[low, high]);
        for line in &drawn {
            let after: Vec<i32> = pixels(line).into_iter().filter(|&x| x >= 140).collect();
            assert_eq!(after, (140..280).collect::<Vec<_>>());
            assert!(pixels(line).len() < 280);
        }
    }

    #[test]
    fn paths_may_end_early_stand_still_or_have_no_segment() {
        let drawn = turns(&[
            vec![(5, 5), (5, 9)],
            vec![(5, 5), (5, 9), (40, 9)],
            vec![(5, 5)],
            vec![],
        ]);
        assert_eq!(
            drawn[0].len() + drawn[1].len(),
            2 - usize::from(drawn[0].is_empty())
        );
        assert_eq!(pixels(&drawn[1]), (5..40).collect::<Vec<_>>());
        assert!(drawn[2].is_empty() && drawn[3].is_empty());
    }
}
