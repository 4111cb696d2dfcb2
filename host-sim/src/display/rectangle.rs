//! Rectangles of pixels, and bounded sets of them.

/// A rectangle of pixels; `right` and `bottom` are the first column and row beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rectangle {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Column after the last.
    pub right: u32,
    /// Row after the last.
    pub bottom: u32,
}

impl Rectangle {
    /// A rectangle; empty if it is inverted.
    #[must_use]
    pub const fn new(left: u32, top: u32, right: u32, bottom: u32) -> Self {
        Self {
            left,
            top,
            right,
            bottom,
        }
    }

    /// The rectangle at the origin with this size.
    #[must_use]
    pub const fn sized(width: u32, height: u32) -> Self {
        Self::new(0, 0, width, height)
    }

    /// Columns.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.right.saturating_sub(self.left)
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.bottom.saturating_sub(self.top)
    }

    /// Whether there is no pixel in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.width() == 0 || self.height() == 0
    }

    /// Pixels in it.
    #[must_use]
    pub const fn area(&self) -> u64 {
        self.width() as u64 * self.height() as u64
    }

    /// What both have in common; empty if nothing.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// The smallest rectangle that holds both.
    #[must_use]
    pub fn bounding(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Whether all of `other` is in `self`.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.is_empty() || self.intersection(other) == *other
    }

    /// What is left of `self` without `other`: up to four rectangles that don't overlap.
    #[must_use]
    pub fn without(&self, other: &Self) -> Vec<Self> {
        let cut = self.intersection(other);
        if cut.is_empty() {
            return if self.is_empty() {
                Vec::new()
            } else {
                vec![*self]
            };
        }
        [
            Self::new(self.left, self.top, self.right, cut.top),
            Self::new(self.left, cut.top, cut.left, cut.bottom),
            Self::new(cut.right, cut.top, self.right, cut.bottom),
            Self::new(self.left, cut.bottom, self.right, self.bottom),
        ]
        .into_iter()
        .filter(|rest| !rest.is_empty())
        .collect()
    }
}

/// Most rectangles in a region.
const MAX_RECTANGLES: usize = 32;

/// A set of pixels as a few rectangles. It may hold more than what was added, never less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    rectangles: Vec<Rectangle>,
}

impl Region {
    /// A region without pixels.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rectangles: Vec::new(),
        }
    }

    /// The rectangles.
    #[must_use]
    pub fn rectangles(&self) -> &[Rectangle] {
        &self.rectangles
    }

    /// Whether it holds no pixel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rectangles.is_empty()
    }

    /// Adds a rectangle. The region becomes the smallest rectangle that holds it all when its rectangles are too many,
    /// or overlap so much that this one is smaller than they are together: to send them is never more work than that.
    pub fn add(&mut self, rectangle: Rectangle) {
        self.put(rectangle);
        let together: u64 = self.rectangles.iter().map(Rectangle::area).sum();
        if self.bounding().is_some_and(|all| together > all.area()) {
            self.collapse();
        }
    }

    fn put(&mut self, rectangle: Rectangle) {
        if rectangle.is_empty() || self.rectangles.iter().any(|held| held.contains(&rectangle)) {
            return;
        }
        self.rectangles.retain(|held| !rectangle.contains(held));
        self.rectangles.push(rectangle);
        if self.rectangles.len() > MAX_RECTANGLES {
            self.collapse();
        }
    }

    /// The smallest rectangle that holds it all.
    fn bounding(&self) -> Option<Rectangle> {
        let held = self.rectangles.iter().copied();
        held.reduce(|all, held| all.bounding(&held))
    }

    fn collapse(&mut self) {
        self.rectangles = self.bounding().into_iter().collect();
    }

    /// Takes away what lies in `rectangle` and returns it.
    pub fn take(&mut self, rectangle: &Rectangle) -> Self {
        let mut taken = Self::new();
        for held in std::mem::take(&mut self.rectangles) {
            taken.add(held.intersection(rectangle));
            for rest in held.without(rectangle) {
                // As they are: a rectangle that holds them all would bring back what is taken.
                self.put(rest);
            }
        }
        taken
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        self.rectangles.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rectangle() -> impl Strategy<Value = Rectangle> {
        (0u32..20, 0u32..20, 0u32..20, 0u32..20).prop_map(|(l, t, r, b)| Rectangle::new(l, t, r, b))
    }

    fn pixels(rectangles: &[Rectangle]) -> Vec<bool> {
        let mut pixels = vec![false; 400];
        for rectangle in rectangles {
            for y in rectangle.top..rectangle.bottom.max(rectangle.top) {
                for x in rectangle.left..rectangle.right.max(rectangle.left) {
                    pixels[(y * 20 + x) as usize] = true;
                }
            }
        }
        pixels
    }

    #[test]
    fn a_region_is_no_more_work_than_its_bounds() {
        // Each but the last reaches further to the right than those before, and none holds another.
        let mut region = Region::new();
        for step in 0..32 {
            region.add(Rectangle::new(step, 0, 1000 - 32 + step, 700));
        }
        let area: u64 = region.rectangles().iter().map(Rectangle::area).sum();
        assert!(area <= 1000 * 700, "{area}");
        // What lies far apart stays apart.
        let mut region = Region::new();
        region.add(Rectangle::new(0, 0, 10, 10));
        region.add(Rectangle::new(990, 690, 1000, 700));
        assert_eq!(region.rectangles().len(), 2);
    }

    proptest! {
        #[test]
        fn without_is_what_is_left(one in rectangle(), other in rectangle()) {
            let rest = one.without(&other);
            let area: u64 = rest.iter().map(Rectangle::area).sum();
            let (before, cut, after) = (pixels(&[one]), pixels(&[other]), pixels(&rest));
            for at in 0..400 {
                prop_assert_eq!(after[at], before[at] && !cut[at]);
            }
            prop_assert_eq!(area, after.iter().filter(|set| **set).count() as u64);
        }

        #[test]
        fn a_region_loses_nothing(
            list in prop::collection::vec(rectangle(), 0..60),
            taken in rectangle(),
        ) {
            let mut region = Region::new();
            for rectangle in &list {
                region.add(*rectangle);
                prop_assert!(region.rectangles().len() <= MAX_RECTANGLES);
                let together: u64 = region.rectangles().iter().map(Rectangle::area).sum();
                prop_assert!(region.bounding().is_none_or(|all| together <= all.area()));
            }
            let (added, held) = (pixels(&list), pixels(region.rectangles()));
            prop_assert!(added.iter().zip(&held).all(|(added, held)| !added || *held));
            let part = region.take(&taken);
            let (inside, rest, part) =
                (pixels(&[taken]), pixels(region.rectangles()), pixels(part.rectangles()));
            for at in 0..400 {
                prop_assert!(!held[at] || part[at] || rest[at], "lost");
                prop_assert!(!part[at] || inside[at]);
            }
        }
    }
}
