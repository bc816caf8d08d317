import pytest

from mgrpo.answers import number
from mgrpo.answers.user_functions import import_function
from mgrpo.errors import UserError


def test_own_function_for_another_field():
    assert import_function("mgrpo.answers.extract:number", "reward_funcs") is number
    with pytest.raises(UserError, match="reward_funcs is 'nowhere:f', which cannot be imported"):
        import_function("nowhere:f", "reward_funcs")
    with pytest.raises(UserError, match="reward_funcs is 'boxed'; write it as module:function"):
        import_function("boxed", "reward_funcs")
