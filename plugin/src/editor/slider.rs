//! A slider for one parameter: name and value above, a bar below.
//!
//! Drag to set, Shift for fine steps, wheel for single steps where it does not scroll, double click or
//! Ctrl-click for the default; click the value to type one, with or without
//! its unit. Each movement is one gesture for the host.

use egui::{
    Align2, CornerRadius, CursorIcon, FontId, Id, Key, Pos2, Rect, Response, Sense, StrokeKind,
    TextEdit, Ui, UiBuilder, Vec2, vec2,
};
use nice_plug::prelude::{Param, ParamSetter};

use super::{Scene, theme};

/// Change of the normalised value per point while Shift is held.
const FINE_PER_POINT: f32 = 0.0004;

/// Points of a trackpad's movement that are a step of a wheel.
const POINTS_PER_STEP: f32 = 40.0;
/// Most steps between two pictures.
const MOST_STEPS: f32 = 8.0;

/// Height of the whole control in points.
pub const HEIGHT: f32 = 37.0;

/// Where a drag stands; kept between frames while it lasts.
#[derive(Clone, Copy)]
struct Drag {
    normalized: f32,
}

/// A slider for `param`.
pub struct Slider<'a, P: Param> {
    param: &'a P,
    scene: &'a Scene<'a>,
    name: Option<&'a str>,
    bipolar: bool,
    enabled: bool,
    /// Why it does nothing, when it is greyed.
    reason: &'a str,
    /// What to know about it with the voice in use.
    hint: String,
    /// What the lowest value is called.
    lowest: Option<&'a str>,
    colour: egui::Color32,
    /// Whether the wheel scrolls what it is in.
    scrolls: bool,
}

impl<'a, P: Param> Slider<'a, P> {
    /// A slider called as the parameter is.
    pub fn new(param: &'a P, scene: &'a Scene<'a>) -> Self {
        Self {
            param,
            scene,
            name: None,
            bipolar: false,
            enabled: true,
            reason: "",
            hint: String::new(),
            lowest: None,
            colour: theme::OUTPUT,
            scrolls: scene.scrolls,
        }
    }

    fn setter(&self) -> ParamSetter<'a> {
        self.scene.host.param_setter()
    }

    /// Shows another name than the parameter's.
    pub fn named(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    /// Shows a word for the lowest value.
    pub fn lowest(mut self, word: &'a str) -> Self {
        self.lowest = Some(word);
        self
    }

    /// Fills the bar from the middle.
    pub fn bipolar(mut self) -> Self {
        self.bipolar = true;
        self
    }

    /// Greyed, for a control that does nothing with the voice in use. It can still be set.
    pub fn relevant(mut self, relevant: bool) -> Self {
        self.enabled = relevant;
        self
    }

    /// Greyed with a reason where the voice in use lacks what it steers. It can still be set.
    pub fn needs(mut self, has: bool, reason: &'a str) -> Self {
        self.enabled = has;
        self.reason = reason;
        self
    }

    /// Says something about it while it does what it says; empty for nothing.
    pub fn hint(mut self, hint: String) -> Self {
        self.hint = hint;
        self
    }

    /// Leaves the wheel to a list that it is in, if that is scrolled.
    pub fn in_list(mut self, scrolls: bool) -> Self {
        self.scrolls |= scrolls;
        self
    }

    /// Lays it out over the width that is left.
    pub fn show(self, ui: &mut Ui) -> Response {
        let width = ui.available_width();
        let (rect, _) = ui.allocate_exact_size(vec2(width, HEIGHT), Sense::hover());
        let id = ui.scope_id().with(("slider", self.param.as_ptr_id()));
        let text_rect = Rect::from_min_size(rect.min, vec2(width, 19.0));
        let bar_rect = Rect::from_min_max(Pos2::new(rect.left(), rect.top() + 21.0), rect.max)
            .shrink2(vec2(0.0, 2.0));

        let name = self.name.unwrap_or_else(|| self.param.name());
        let text_colour = if self.enabled {
            theme::TEXT
        } else {
            theme::WEAK
        };
        let value_rect = self.value(ui, id, text_rect, text_colour);
        ui.painter()
            .with_clip_rect(Rect::from_min_max(
                text_rect.min,
                Pos2::new(value_rect.left() - 4.0, text_rect.bottom()),
            ))
            .text(
                text_rect.left_center(),
                Align2::LEFT_CENTER,
                name,
                FontId::proportional(13.0),
                text_colour,
            );
        let response = self.bar(ui, id, bar_rect);
        let told = if self.enabled {
            self.hint.as_str()
        } else {
            self.reason
        };
        if told.is_empty() {
            response
        } else {
            response.on_hover_text(told)
        }
    }

    /// The value at the right, which a click turns into a text field.
    fn value(&self, ui: &mut Ui, id: Id, rect: Rect, colour: egui::Color32) -> Rect {
        let edit_id = id.with("edit");
        let typed: Option<String> = ui.data(|data| data.get_temp(edit_id));
        let normalized = self.param.modulated_normalized_value();
        let text = match self.lowest {
            Some(word) if normalized == 0.0 => word.to_owned(),
            _ => self.param.normalized_value_to_string(normalized, true),
        };
        let font = FontId::proportional(13.0);
        let galley = ui
            .painter()
            .layout_no_wrap(text.clone(), font.clone(), colour);
        let width = if typed.is_some() {
            86.0
        } else {
            galley.size().x
        };
        let value_rect = Rect::from_min_max(
            Pos2::new(rect.right() - width, rect.top()),
            rect.right_bottom(),
        );

        if let Some(mut typed) = typed {
            // A child does not move what follows; the value stands in for a hint.
            let mut field = ui.new_child(UiBuilder::new().max_rect(value_rect));
            let edit = field.put(
                value_rect,
                TextEdit::singleline(&mut typed)
                    .id(edit_id.with("field"))
                    .hint_text(text)
                    .font(font)
                    .margin(vec2(4.0, 0.0)),
            );
            let done = edit.lost_focus();
            if done && !ui.input(|input| input.key_pressed(Key::Escape)) {
                self.type_in(&typed);
            }
            ui.data_mut(|data| {
                if done {
                    data.remove::<String>(edit_id);
                } else {
                    data.insert_temp(edit_id, typed);
                }
            });
            return value_rect;
        }

        let response = ui
            .interact(value_rect.expand(2.0), id.with("value"), Sense::click())
            .on_hover_cursor(CursorIcon::Text);
        let colour = if response.hovered() {
            egui::Color32::WHITE
        } else {
            colour
        };
        ui.painter().galley_with_override_text_color(
            Align2::RIGHT_CENTER
                .align_size_within_rect(galley.size(), value_rect)
                .min,
            galley,
            colour,
        );
        if response.clicked() {
            ui.data_mut(|data| data.insert_temp(edit_id, String::new()));
            ui.memory_mut(|memory| memory.request_focus(edit_id.with("field")));
        }
        value_rect
    }

    /// The bar that is dragged.
    fn bar(&self, ui: &mut Ui, id: Id, rect: Rect) -> Response {
        let response = ui
            .interact(rect.expand2(vec2(0.0, 3.0)), id, Sense::click_and_drag())
            .on_hover_cursor(CursorIcon::ResizeHorizontal);
        let drag_id = id.with("drag");
        let drag: Option<Drag> = ui.data(|data| data.get_temp(drag_id));
        let (fine, reset) = ui.input(|input| (input.modifiers.shift, input.modifiers.command));

        if response.double_clicked() || (response.clicked() && reset) {
            self.gesture(|| {
                self.setter()
                    .set_parameter(self.param, self.param.default_plain_value())
            });
        } else if response.clicked()
            && let Some(pointer) = response.interact_pointer_pos()
        {
            self.gesture(|| self.set_normalized(position(rect, pointer)));
        }
        if response.drag_started() {
            self.setter().begin_set_parameter(self.param);
            self.scene.gesture.set(Some(self.param.as_ptr()));
            let normalized = self.param.unmodulated_normalized_value();
            ui.data_mut(|data| data.insert_temp(drag_id, Drag { normalized }));
        }
        if response.dragged()
            && let Some(mut drag) = drag
            && let Some(pointer) = response.interact_pointer_pos()
        {
            drag.normalized = if fine {
                drag.normalized + response.drag_delta().x * FINE_PER_POINT
            } else if response.drag_delta() != Vec2::ZERO {
                position(rect, pointer)
            } else {
                drag.normalized
            }
            .clamp(0.0, 1.0);
            self.set_normalized(drag.normalized);
            ui.data_mut(|data| data.insert_temp(drag_id, drag));
        }
        if response.drag_stopped() {
            self.setter().end_set_parameter(self.param);
            self.scene.gesture.set(None);
            ui.data_mut(|data| data.remove::<Drag>(drag_id));
        }
        if response.hovered() && drag.is_none() && !self.scrolls {
            self.wheel(ui, id.with("wheel"), fine);
        }

        self.paint(ui, rect, response.hovered() || drag.is_some());
        response
    }

    fn wheel(&self, ui: &Ui, id: Id, fine: bool) {
        let turned = ui.input(|input| input.events.iter().map(turned).sum::<f32>());
        if turned == 0.0 {
            return;
        }
        let before: f32 = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        let (steps, rest) = whole_steps(before, turned);
        ui.data_mut(|data| data.insert_temp(id, rest));
        if steps == 0.0 {
            return;
        }
        let from = self.param.unmodulated_normalized_value();
        let to = (0..steps.abs() as usize).fold(from, |value, _| {
            if steps > 0.0 {
                self.param.next_normalized_step(value, fine)
            } else {
                self.param.previous_normalized_step(value, fine)
            }
        });
        self.gesture(|| self.set_normalized(to));
    }

    fn paint(&self, ui: &Ui, rect: Rect, lively: bool) {
        let radius = CornerRadius::same(4);
        let painter = ui.painter();
        painter.rect_filled(rect, radius, theme::SUNKEN);
        let x = |normalized: f32| rect.left() + rect.width() * normalized;
        let value = self.param.unmodulated_normalized_value();
        let (from, to) = if self.bipolar {
            let middle = self.param.default_normalized_value();
            (middle.min(value), middle.max(value))
        } else {
            (0.0, value)
        };
        let colour = match (self.enabled, lively) {
            (false, _) => theme::RAISED_HOVER,
            (true, false) => self.colour.gamma_multiply(0.85),
            (true, true) => self.colour,
        };
        if to > from {
            painter.rect_filled(
                Rect::from_x_y_ranges(x(from)..=x(to), rect.y_range()),
                if self.bipolar {
                    CornerRadius::ZERO
                } else {
                    radius
                },
                colour,
            );
        }
        let modulated = self.param.modulated_normalized_value();
        if modulated != value {
            painter.vline(x(modulated), rect.y_range(), (2.0, theme::INPUT));
        }
        // The handle shows where the value is even when the bar is empty.
        let handle = Rect::from_center_size(
            Pos2::new(
                x(value).clamp(rect.left() + 1.5, rect.right() - 1.5),
                rect.center().y,
            ),
            vec2(3.0, rect.height()),
        );
        painter.rect_filled(handle, CornerRadius::ZERO, theme::TEXT);
        painter.rect_stroke(rect, radius, (1.0, theme::LINE), StrokeKind::Inside);
    }

    fn set_normalized(&self, normalized: f32) {
        let plain = self.param.preview_plain(normalized);
        if plain != self.param.unmodulated_plain_value() {
            self.setter().set_parameter(self.param, plain);
        }
    }

    fn type_in(&self, text: &str) {
        if let Some(normalized) = self.param.string_to_normalized_value(text) {
            self.gesture(|| self.set_normalized(normalized.clamp(0.0, 1.0)));
        }
    }

    /// One complete gesture around `set`.
    fn gesture(&self, set: impl FnOnce()) {
        self.setter().begin_set_parameter(self.param);
        set();
        self.setter().end_set_parameter(self.param);
    }
}

/// Steps of a wheel in an event; a trackpad's are parts of one.
fn turned(event: &egui::Event) -> f32 {
    match event {
        egui::Event::MouseWheel { unit, delta, .. } => {
            let moved = delta.y + delta.x;
            match unit {
                egui::MouseWheelUnit::Point => moved / POINTS_PER_STEP,
                egui::MouseWheelUnit::Line | egui::MouseWheelUnit::Page => moved,
            }
        }
        _ => 0.0,
    }
}

/// Whole steps of what was left and what was turned since, and what is left of them. Turning back begins anew.
fn whole_steps(left: f32, turned: f32) -> (f32, f32) {
    let total = if left * turned < 0.0 {
        turned
    } else {
        left + turned
    };
    let steps = total.trunc();
    (steps.clamp(-MOST_STEPS, MOST_STEPS), total - steps)
}

fn position(rect: Rect, pointer: Pos2) -> f32 {
    ((pointer.x - rect.left()) / rect.width()).clamp(0.0, 1.0)
}

/// A stable number for a parameter, to tell sliders apart.
trait PointerId {
    fn as_ptr_id(&self) -> usize;
}

impl<P: Param> PointerId for P {
    fn as_ptr_id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_step_add_up_and_turning_back_begins_anew() {
        assert_eq!(whole_steps(0.0, 1.0), (1.0, 0.0));
        assert_eq!(whole_steps(0.0, -2.5), (-2.0, -0.5));
        assert_eq!(whole_steps(0.75, 0.5), (1.0, 0.25));
        assert_eq!(whole_steps(0.75, -0.5), (0.0, -0.5));
        assert_eq!(whole_steps(0.0, 100.25), (MOST_STEPS, 0.25));
    }
}
