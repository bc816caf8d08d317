import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgrpo.answers import EQUIVALENCES, answer_ids, equal_to, get_equivalence, number_answers
from mgrpo.answers.equivalence import by_function
from mgrpo.errors import UserError

pytestmark = pytest.mark.usefixtures("patient_workers")

HALF = [
    *("1/2", "0.5", r"\frac12", r"\frac{1}{2}", r"\dfrac{1}{2}", r"\tfrac{1}{2}", r"50\%", "50%", ".5", "$0.50$"),
    *("5/10", r"\frac 1 2", "½", "2^{-1}", r"\cos 60\pi/180", r"\sqrt{1/4}", "x = 0.5", r"0.5\text{ cm}"),
]


def are_equal(left: str, right: str) -> bool:
    """Asked in both orders, which must agree."""
    ids = {tuple(answer_ids([pair], "math")[0]) for pair in ([left, right], [right, left])}
    assert len(ids) == 1
    return ids == {(0, 0)}


# Mathematics.


@pytest.mark.parametrize("answer", HALF)
def test_half(answer):
    assert are_equal(answer, "1/2")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"(3, \frac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
        ("x+1", "1+x"),
        ("(x+1)^2", "x^2+2x+1"),
        (r"\sqrt{4}", "2"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}"),
        (r"2\frac{1}{2}", "2.5"),
        ("x=5", "5"),
        ("y = 2x+3", "3 + 2x"),
        (r"5\text{ cm}", "5"),
        (r"90^\circ", "90"),
        (r"\text{(A)}", "A"),
        (r"\{1,2\}", r"\{2,1\}"),
        ("1, -2", "-2, 1"),
        (r"x = 1 \text{ or } x = -2", "-2, 1"),
        (r"1 \pm \sqrt{2}", r"1-\sqrt2, 1+\sqrt2"),
        ("-2 < x \\le 3", "(-2, 3]"),
        ("x > 3", r"(3, \infty)"),
        (r"x \in [1,2]", "[1, 2]"),
        (r"(-\infty, 2) \cup (3, \infty)", "(3, ∞) ∪ (-∞, 2)"),
        (r"\begin{pmatrix} 1/2 \\ -3 \end{pmatrix}", r"\begin{bmatrix}0.5\\-3\end{bmatrix}"),
        ("5x - 7y + 4 = 0", "14y - 10x = 8"),
        ("2x < 3", "3 > 2x"),
        ("3+4i", "4i+3"),
        ("i^2", "-1"),
        (r"e^{i\pi}", "-1"),
        ("0.5x", r"\frac{x}{2}"),
        ("1e5", "100000"),
        (r"1.5 \times 10^{-3}", "0.0015"),
        (r"0.\overline{3}", "1/3"),
        ("5!", r"\binom{16}{2}"),
        (r"\$32,\!348", "32348"),
        (r"\text{Evelyn}", "evelyn."),
        ("f(x)+1", "1+f(x)"),
        ("seven", "7"),
        ("= 7", "7"),
        (r"\angle ABC = 90^\circ", "90"),
        (r"\text{Area} = 2k", "2k"),
        (r"\frac{14}{3} \approx 4.667", "14/3"),
        (r"{14 \over 3}", "14/3"),
        ("¹⁴⁄₃", "14/3"),
        ("x¹⁰+1", "1+x^{10}"),
        (r"0.\bar{3}", "1/3"),
        ("52 (base 8)", "52_8"),
        (r"\{x \mid 3 < x \le 4\}", "(3,4]"),
        (r"\text{Option C}", "C"),
        (" 7 ", "7"),
    ],
)
def test_equal_as_mathematics(left, right):
    assert are_equal(left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1/2", "-1/2"),
        ("1/2", "1/3"),
        ("0.333333", "1/3"),
        ("50%", "50"),
        ("1,2", "12"),
        ("1 2", "12"),
        ("x+1", "x+2"),
        ("x^2", "y^2"),
        ("3R^2", "3r^2"),
        (r"\sqrt{x^2}", "x"),  # they agree above zero alone
        (r"\sqrt{2}", r"\sqrt{3}"),
        (r"\pi", "3.14"),
        ("(1,2)", "(2,1)"),
        ("(1,2)", "[1,2]"),
        ("(1,2)", r"\{1,2\}"),
        ("x=5", "y=5"),
        ("x < 3", r"x \le 3"),
        ("2x < 3", r"2x > 3"),
        ("2516_8", "2516"),
        ("2516_8", "2516_9"),
        ("2^{2010}", "2^{2010}-1"),  # a float sees no difference
        ("10^{400}", "10^{401}"),  # nor here, where both are infinite
        (r"\infty", r"-\infty"),
        ("9^{9^9}", "9^{9^8}"),
        ("f(x)", "g(x)"),
        ("7", "eight"),
        ("2:3", "3:2"),
        ("no", "yes"),
        ("", "0"),
        ("{", "}"),
    ],
)
def test_different_as_mathematics(left, right):
    assert not are_equal(left, right)


# A number over a number before a factor is a coefficient; units do not count, other words do; and so on.
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("y = 1/2x + 3", r"y=\frac12x+3"),
        (r"2/3\pi", r"\frac{2}{3}\pi"),
        (r"4/3 \pi r^3", r"\frac{4}{3}\pi r^3"),
        (r"\pi/2 x", r"\frac{\pi x}{2}"),
        (r"\sqrt{3}/4 s^2", r"\frac{\sqrt{3}}{4}s^2"),
        ("-1/2(x+1)", r"-\frac{x+1}{2}"),
        ("3/2x^2-1/2x", r"\frac{3x^2-x}{2}"),
        ("1/2i", r"\frac{i}{2}"),
        (r"5\text{ million}", "5000000"),
        ("5 million", "5,000,000"),
        (r"\$2.5\text{ billion}", "2.5 billion"),
        (r"50\text{ %}", "50%"),
        (r"50\text{\%}", "50%"),
        (r"50\text{ percent}", "50%"),
        (r"5\text{ cm}^2", "5"),
        ("5 m/s", r"5\text{ m/s}"),
        ("5 m/s", "5"),
        (r"5\text{ m}/\text{s}^2", "5"),
        (r"5\text{ kg}\cdot\text{m}^2", "5"),
        ("20 loss", r"20\text{ loss}"),
        (r"\$20\text{ loss}", r"20.0\text{ loss}"),
        (r"50\text{ percent of the total}", r"50\%\text{ of the total}"),
        (r"\sin 30^\circ", r"\frac12"),
        (r"\cos(60^{\circ})", "1/2"),
        (r"2\tan 45^\circ", "2"),
        (r"\sin^2 45^\circ", "1/2"),
        (r"\cos\frac{180}{3}^\circ", "1/2"),
        ("sin 30°", "1/2"),
        (r"90^\circ", "90"),
        (r"72^{\circ}", "72"),
        (r"20\text{°C}", r"20^\circ\text{C}"),
        (r"90\text{°}", "90"),
        (r"\sin 30\text{ degrees}", r"\frac12"),
        (r"\sin(x+90^\circ)", r"\cos x"),
        (r"n \not= 3", r"n \ne 3"),
        (r"6{:}30\text{ p.m.}", "6:30 PM"),
        (r"\text{50 percent}", "50%"),
        (r"\text{5 cm}", "5"),
        (r"-\infty < x < \infty", r"\mathbb{R}"),
        (r"1/2 e^{2x}", r"\frac{e^{2x}}{2}"),
        (r"5/2\sqrt{3}+1", r"\frac{5\sqrt3}{2}+1"),
        (r"7.8\text{ billion people}", "7800000000"),
        ("12 square feet", r"12\text{ ft}^2"),
        ("cos 60 degrees", "0.5"),
        ("90 degrees", "90"),
        ("30 degrees Celsius", "30"),
        ("1/2|x|", r"\frac{|x|}{2}"),
        ("|x - 1/2|", r"|\frac12 - x|"),
        ("5 millions", r"5\text{ million}"),
        (r"\text{the empty set}", r"\emptyset"),
        (r"x \ne 1", r"x \neq 1"),
        (r"x \ne 1", "x ≠ 1"),
        ("x != 1", r"x\neq1"),
        (r"\emptyset", r"\{\}"),
        (r"\varnothing", "∅"),
        (r"\text{1/2}", "1/2"),
        ("x_1 = 3, x_2 = -1", "3,-1"),
        (r"x_1=3\text{ and }x_2=-1", r"\{-1,3\}"),
        (r"{5 \choose 2}", "10"),
        (r"5\ ", "5"),
        ("5\\", "5"),
        ("6:30 PM", "6:30 p.m."),
        (r"6:30\text{ p.m.}", "6:30 PM"),
        (r"\mathbb{R}", r"(-\infty,\infty)"),
        (r"x\in\mathbb R", r"(-\infty,\infty)"),
        (r"\text{all real numbers}", r"\mathbb{R}"),
        (r"\frac{\sqrt2}{2}\text{ m}", r"\frac{1}{\sqrt{2}}"),
        ("3.1415926536", r"\pi"),
        (r"\sqrt{10^{12}}", "10^6"),
        (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}"),
        (r"e^{i\pi}", "-1"),
        ("9 feet", "9"),
        (r"3\text{ sq. ft.}", "3"),
        ("'yes'", "yes"),
        (r"1{,}200\text{ people}", "1200"),
        (r"2\frac12\text{ million}", "2500000"),
        ("50%", r"\frac12"),
        (r"40^\circ N", r"40^\circ\text{ N}"),
        ("ℝ", r"\mathbb{R}"),
        ("∅", r"\{\}"),
        ("x ≠ 1", r"x \neq 1"),
        ("1.4142135624", r"\sqrt2"),
        (r"\sin 30^\circ \cos 60^\circ", "1/4"),
        (r"\arctan 1", r"\pi/4"),
        (r"1 + \frac{1}{1+\frac12}", "5/3"),
        (r"\log_2 8", "3"),
        (r"(1+\sqrt5)/2", r"\frac{1+\sqrt5}{2}"),
        (r"5\text{ miles per hour}", "5 mph"),
        (r"12\text{ in}^2", "12"),
        (r"3\text{ ft}", "3 feet"),
        ("120 km/h", "120"),
        ("9.8 m/s^2", r"9.8\text{ m/s}^2"),
        (r"9.8\,\mathrm{m/s^2}", "9.8"),
        (r"8\text{ AM}", r"8\text{ a.m.}"),
        ("8:00 AM", "8 a.m."),
        ("12:30pm", r"12\!:\!30\text{ p.m.}"),
        (r"\$3\text{ million}", "3,000,000"),
        (r"1.5\times 10^6", r"1.5\text{ million}"),
        ("1/3(a+b+c)", r"\frac{a+b+c}{3}"),
        ("2/3*pi*r^3", r"\frac23\pi r^3"),
        ("a_1 = 2, a_2 = 5", "2, 5"),
        ("x_{1}=3, x_{2}=-1", "3,-1"),
        (r"{n \choose k}", r"\binom{n}{k}"),
        (r"\text{3.5}", "3.5"),
        (r"\text{50\%}", "0.5"),
        (r"50\text{ per cent}", "50%"),
        ("25 percent", "1/4"),
    ],
)
def test_spellings_of_models_are_equal(left, right):
    assert are_equal(left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"2/3\pi", r"\frac{2}{3\pi}"),
        ("1/(2x)", "1/2x"),
        (r"5\text{ million}", "5"),
        (r"5\text{ million}", r"5\text{ billion}"),
        (r"6:30\text{ a.m.}", r"6:30\text{ p.m.}"),
        (r"20\text{ loss}", r"20\text{ profit}"),
        (r"5\text{ north}", r"5\text{ south}"),
        (r"50\text{ percent of the total}", "50"),
        (r"\sin 30^\circ", r"\sin 30"),
        ("x'", "x"),
        ("x''", "x'"),
        (r"\sqrt{10^{12}+1}", "10^6"),
        (r"\sqrt{10^{14}+1}", "10^7"),
        (r"\sqrt{10^{20}+1}", "10^{10}"),
        (r"x \ne 1", "x = 1"),
        (r"x \ne 1", r"x \ne 2"),
        ("x_1 = 3, x_2 = -1", "x_1 = -1, x_2 = 3"),
        (r"\mathbb{R}", "R"),
        (r"40^\circ N", r"40^\circ S"),
        (r"5\text{ of 7}", r"5\text{ of 8}"),
        (r"5\text{ boys}", r"5\text{ girls}"),
        (r"\sqrt{10^{30}+1}", "10^{15}"),
        (r"\mathbb{Q}", "Q"),
        (r"\mathbb{N}", r"\mathbb{Z}"),
        (r"5\text{ or more}", "5"),
        (r"5\%\text{ increase}", r"5\%\text{ decrease}"),
        (r"\cos x^\circ", r"\cos x"),
        (r"2\text{nd}", "2"),
        (r"20\text{ loss}", "20"),
        ("20 loss", "20 profit"),
        ("6 PM", "6 AM"),
        (r"{5\choose 2}", r"\frac52"),
        ("3am", "3pm"),
        (r"\emptyset", r"\{0\}"),
        ("31415926536", r"10^{10}\pi"),
        ("50%", "50"),
        (r"3\text{ dozen}", "3"),
        (r"\text{1/2}", "12"),
        ("5 thousand", "5 hundred"),
        ("x/2y", "3x/2y"),
        (r"5\text{ cm long}", "6"),
        ("2516_8", "2516"),
        ("5!=120", "5"),
        (r"5\text{ east}", "5 west"),
        ("1/2x", r"\frac{1}{2x}"),
        ("y'", "y"),
        ("f'(x)", "f(x)"),
        (r"\cos 60", r"\cos 60^\circ"),
        (r"\sqrt{10^{16}+1}", "10^8"),
        (r"\sqrt{10^{12}+1}", r"\sqrt{10^{12}+2}"),
        (r"10\text{ gain}", "10"),
        (r"x \neq 1", "x"),
        (r"4\text{ to }5", "4"),
        ("7 PM", "7"),
        (r"3\text{ left}", r"3\text{ right}"),
        (r"5\text{ thousand}", "5000000"),
    ],
)
def test_words_and_factors_are_part_of_the_answer(left, right):
    assert not are_equal(left, right)


def test_numbered_names_are_left_out_where_somebody_leaves_them_out():
    assert answer_ids([["x_1=3, x_2=-1", "x_1=-1, x_2=3", "3, -1"]]) == [[0, 0, 0]]
    assert answer_ids([["x_1=3, x_2=-1", "x_1=-1, x_2=3", "x=3, y=-1"]]) == [[0, 1, 2]]


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_bare_value_joins_those_with_a_name(name):
    """x = 5 and y = 5 may be two lines; where somebody says 5, the name is a way of speaking."""
    assert answer_ids([["x=5", "y=5"], ["x=5", "y=5", "5"], [f"{name}=5", "5"]]) == [[0, 1], [0, 0, 0], [0, 0]]


def test_ids_count_up_by_first_appearance_in_each_group():
    groups = [["7", None, "0.5", "7.0", "1/2", ""], [None, None], ["3", "2", "1"], []]
    assert answer_ids(groups, "math") == [[0, -1, 1, 0, 1, 2], [-1, -1], [0, 1, 2], []]


ANSWERS = [*HALF, "2", "2.0", "x+1", "1+x", r"\sqrt{4}", "no", "", "x=2", "y=2", "f(x)", "(1,2)", "1,2", "2,1", None]


@given(st.lists(st.sampled_from(ANSWERS), max_size=10), st.randoms())
def test_shuffling_a_group_keeps_the_partition(group, rng: random.Random):
    order = list(range(len(group)))
    rng.shuffle(order)
    [ids], [shuffled] = answer_ids([group], "math"), answer_ids([[group[i] for i in order]], "math")
    for a in range(len(group)):
        for b in range(len(group)):
            assert (ids[order[a]] == ids[order[b]]) == (shuffled[a] == shuffled[b])
            assert (shuffled[a] == -1) == (group[order[a]] is None)


@given(st.lists(st.text(max_size=30) | st.text("0123456789x+-*/^_{}()[]\\fracsqt,.= $", max_size=30), max_size=6))
def test_any_text_has_an_id(group):
    [ids] = answer_ids([group], "math")
    assert len(ids) == len(group)
    assert all(ids[i] == ids[group.index(answer)] for i, answer in enumerate(group))


def test_what_the_parser_gives_up_on_is_counted_and_compared_as_text(monkeypatch):
    slow = r"\sqrt{x + 123456}"
    monkeypatch.setattr("mgrpo.answers.mathematics.SECONDS_PER_ANSWER", 1e-6)
    numbered = number_answers([[slow, "1/2", slow, "0.5", f"{slow}+1"], ["3"]], "math")
    assert numbered.ids == [[0, 1, 0, 1, 2], [0]]
    assert (numbered.num_compared, numbered.num_failed) == (5, 2)


# The other equivalences.


def test_text_compares_stripped_text():
    assert answer_ids([["1/2", " 1/2\n", "0.5", "1/2"]], "text") == [[0, 0, 1, 0]]


def test_number_compares_values_of_plain_numbers():
    group = ["1,000", "1000.0", "x = 1000", "$1000", "x+1", "1+x", "1e3", None]
    assert answer_ids([group], "number") == [[0, 0, 0, 0, 1, 2, 0, -1]]


def test_choice_compares_letters():
    assert answer_ids([["A", "(A)", r"\text{A}", "a.", "B", "(b)"]], "choice") == [[0, 0, 0, 0, 1, 1]]


def test_equal_to_a_gold_answer():
    assert equal_to(["1/2", None, "2", " 0.5 "], " 0.5", "math") == [True, False, False, True]
    assert equal_to(["1/2", None, "0.5"], "0.5", "text") == [False, False, True]


# A user's own function.


def near(left: str, right: str) -> bool:
    return abs(int(left) - int(right)) <= 1


def test_ids_do_not_depend_on_the_order_where_equality_is_not_transitive(monkeypatch):
    # 1 = 2 and 2 = 3 but not 1 = 3: all three are one class, whoever comes first
    monkeypatch.setitem(EQUIVALENCES, "near", by_function(near, "near"))
    groups = [["1", "2", "3"], ["1", "3", "2"], ["9", "3", "1", "2"]]
    assert answer_ids(groups, "near") == [[0, 0, 0], [0, 0, 0], [0, 1, 1, 1]]


def test_own_function(tmp_path, monkeypatch):
    (tmp_path / "my_equality.py").write_text("def same(left, right):\n    return left.lower() == right.lower()\n")
    monkeypatch.chdir(tmp_path)
    assert answer_ids([["Yes", "YES", "no", None]], "my_equality:same") == [[0, 0, 1, -1]]


def test_own_function_that_raises(monkeypatch, caplog):
    monkeypatch.setitem(EQUIVALENCES, "near", by_function(near, "my:near"))
    with caplog.at_level(logging.WARNING, "mgrpo.answers"):
        numbered = number_answers([["1", "2"], ["5", "6"], ["3", "x"]], "near")
    assert (numbered.ids, numbered.num_failed) == ([[0, 0], [0, 0], [0, 1]], 2)
    assert "my:near raised ValueError: invalid literal for int() with base 10: 'x' on '3' and 'x'" in caplog.text
    with pytest.raises(UserError, match="my:near raised on more than half of the answers of a batch"):
        answer_ids([["x", "y", "z"]], "near")


# Names.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maths", r"answer_equivalence is 'maths'; set it to one of math, text, .* \(did you mean 'math'\?\)"),
        ("no_such_module:same", "answer_equivalence is 'no_such_module:same', which cannot be imported"),
    ],
)
def test_unknown_equivalence(name, message):
    with pytest.raises(UserError, match=message):
        get_equivalence(name)


def test_math_verify_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    with pytest.raises(UserError, match=r"needs math-verify: pip install 'mgrpo\[math\]', or set it to text"):
        get_equivalence("math")
    assert answer_ids([["a", "a"]], "text") == [[0, 0]]
