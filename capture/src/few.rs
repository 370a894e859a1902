//! Lists of a flow that nearly always hold one element.

/// Adds an element; the first one gets room for itself alone, where a vector begins with four. What a flow keeps
/// open by the hundred bytes is most of what it takes.
pub fn push<T>(list: &mut Vec<T>, item: T) {
    if list.capacity() == 0 {
        list.reserve_exact(1);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_no_room_beside_it() {
        let mut list = Vec::new();
        push(&mut list, [7u8; 100]);
        assert_eq!(list.capacity(), 1);
        push(&mut list, [8; 100]);
        assert_eq!((list.len(), list[0][0], list[1][0]), (2, 7, 8));
    }
}
