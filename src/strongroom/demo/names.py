"""Made-up names: common surnames by frequency, given names by sex, and names as some of the minorities form them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.demo.columns import join, pick, pick_by_share

# Share of people in a thousand, rounded.
SURNAMES: dict[str, float] = {
    "王": 72, "李": 72, "张": 68, "刘": 54, "陈": 45, "杨": 31, "黄": 22, "赵": 23, "吴": 20, "周": 21, "徐": 15, "孙": 15,
    "马": 13, "朱": 13, "胡": 12, "郭": 12, "何": 11, "高": 10, "林": 11, "罗": 9, "郑": 9, "梁": 8, "谢": 8, "宋": 8,
    "唐": 7, "许": 7, "韩": 7, "冯": 6, "邓": 6, "曹": 6, "彭": 6, "曾": 6, "肖": 6, "田": 5, "董": 5, "袁": 5, "潘": 5,
    "于": 5, "蒋": 5, "蔡": 5, "余": 4, "杜": 4, "叶": 4, "程": 4, "苏": 4, "魏": 4, "吕": 4, "丁": 4, "任": 4, "沈": 4,
    "姚": 3, "卢": 3, "姜": 3, "崔": 3, "钟": 3, "谭": 3, "陆": 3, "汪": 3, "范": 3, "金": 3, "石": 3, "廖": 3, "贾": 3,
    "夏": 3, "韦": 3, "付": 3, "方": 3, "白": 3, "邹": 3, "孟": 3, "熊": 3, "秦": 3, "邱": 3, "江": 3, "尹": 3, "薛": 3,
    "闫": 3, "段": 2, "雷": 2, "侯": 2, "龙": 2, "史": 2, "陶": 2, "黎": 2, "贺": 2, "顾": 2, "毛": 2, "郝": 2, "龚": 2,
    "邵": 2, "万": 2, "钱": 2, "严": 2, "覃": 2, "武": 2, "戴": 2, "莫": 2, "孔": 2, "向": 2, "汤": 2,
    "欧阳": 1, "司马": 0.1, "上官": 0.1, "诸葛": 0.1, "端木": 0.05,
}  # fmt: skip
_FEMALE = "芳娜敏静丽艳娟霞秀燕玲桂英华慧巧美兰凤洁梅琳素云莲真环雪荣爱妹香月莺媛红春菊珠翠雅芝玉萍颖露瑶怡婵"
_MALE = "伟强磊军洋勇杰涛明超刚平辉鹏飞斌波宇浩凯健俊帆帅旭宁龙林欢阳建亮成畅志文武东海山仁义国胜学祥才发新利清"
_BOTH = "子家文思嘉晓志国永春小雨天一宏海金玉明光正德新雅佳梓俊泽世承立启德书景"

_UYGUR = (
    ("古丽", "阿依古丽", "热依汗古丽", "帕提古丽", "阿米娜", "祖丽菲亚", "迪丽努尔", "茹仙古丽"),
    ("买买提", "艾合买提", "阿卜杜拉", "吐尔逊", "艾尔肯", "卡米力", "玉素甫", "阿迪力"),
)
_UYGUR_FATHERS = ("买买提", "艾合买提", "吐尔逊", "依明", "肉孜", "阿不都热合曼", "玉山", "斯迪克")
_TIBETAN = (
    ("卓玛", "拉姆", "央金", "白玛", "德吉", "曲珍", "措姆", "仓决"),
    ("扎西", "顿珠", "次仁", "多吉", "平措", "旺堆", "格桑", "罗布"),
)
_TIBETAN_SECOND = ("次仁", "旺姆", "平措", "央宗", "罗布", "曲培", "多杰", "措")


@cache
def _given(female: bool) -> pa.Array:
    """Given names of one or two characters, about 4,000 for each sex."""
    last = _FEMALE if female else _MALE
    single = [c for c in last for _ in range(12)]
    double = [a + b for a in (*_BOTH, *last[:25]) for b in last if a != b]
    return pa.array(single + double)


def names(rng: np.random.Generator, female: npt.NDArray[np.bool_]) -> pa.Array:
    """A Han name per row, by sex."""
    n = len(female)
    given = pc.if_else(pa.array(female), pick(rng, _given(True), n), pick(rng, _given(False), n))
    return join(pick_by_share(rng, SURNAMES, n), given)


def names_by_group(rng: np.random.Generator, female: npt.NDArray[np.bool_], group: pa.Array) -> pa.Array:
    """A name per row, by sex and ethnic group: given and father's name for Uygurs and Kazakhs, two given for Tibetans."""
    result = names(rng, female)
    for groups, (women, men), seconds, between in (
        (["维吾尔族", "哈萨克族"], _UYGUR, _UYGUR_FATHERS, "·"),
        (["藏族"], _TIBETAN, _TIBETAN_SECOND, ""),
    ):
        rows = pc.is_in(group, pa.array(groups))
        at = np.flatnonzero(rows.to_numpy(zero_copy_only=False))
        first = pc.if_else(pa.array(female[at]), pick(rng, women, len(at)), pick(rng, men, len(at)))
        result = pc.replace_with_mask(result, rows, join(first, between, pick(rng, seconds, len(at))))
    return result
