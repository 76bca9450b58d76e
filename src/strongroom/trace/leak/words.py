"""Words of headers that say which identifiers stand below, beyond those a schema is drafted by."""

from __future__ import annotations

import re
from itertools import pairwise

from strongroom.schema.draft_words import meaning_of, words_of

_TOPICS: tuple[tuple[str, str, str], ...] = (
    ("tracking", "tracking waybill parcel express shipment consignment courier_no", "运单 快递单 快递号 单号 物流"),
    ("report", "report incident alarm police_report", "警情 报警 接警 警单"),
    ("case", "case docket", "案件 案号 案由编号"),
    ("person", "person citizen people", "人员 居民 公民"),
    ("recipient", "recipient receiver consignee addressee", "收件 收货"),
    ("sender", "sender shipper", "寄件 发货"),
    ("name", "name fullname xm", "姓名 名字"),
    ("mobile", "mobile phone tel cell msisdn sjh sjhm lxdh dh", "手机 电话 联系方式"),
    ("resident", "resident idcard sfz sfzh zjhm identity identification", "身份证 证件"),
    ("email", "email mail", "邮箱 邮件"),
    ("address", "address addr dz zz hjdz", "地址 住址 户籍地"),
    ("birth", "birth birthday dob csrq", "出生 生日"),
    ("sex", "sex gender xb", "性别"),
    ("ethnicity", "ethnicity ethnic mz", "民族"),
    ("education", "education degree whcd xl", "学历 教育 文化程度"),
    ("text", "text description detail content remark note summary", "简要 案情 内容 描述 备注"),
    ("goods", "goods item product", "物品 商品 品名"),
    ("district", "district county area region", "区县 辖区 地区"),
    ("station", "station precinct", "派出所"),
    ("court", "court", "法院"),
    ("charge", "charge offence offense", "罪名"),
    ("status", "status state", "状态"),
    ("role", "role", "角色"),
    ("time", "time date at on timestamp sent reported opened", "时间 日期"),
)
"""Topic, English words and abbreviations of pinyin, Chinese words that may stand anywhere in a header."""

_ENGLISH = {word: topic for topic, english, _ in _TOPICS for word in english.split()}
_CHINESE = [(word, topic) for topic, _, chinese in _TOPICS for word in chinese.split()]
_COMMON = "号码编的人员名称信息所在地日期时间类型第一二联系"
_EMPTY = frozenset({"no", "number", "id", "code", "the", "of", "a", "num", "str"})


def known_words(header: str) -> frozenset[str]:
    """The topics that a header speaks of."""
    words = words_of(header)
    phrases = [*words, *("_".join(pair) for pair in pairwise(words))]
    found = {_ENGLISH[word] for word in phrases if word in _ENGLISH}
    found |= {topic for word, topic in _CHINESE if word in header}
    return frozenset(found)


def plain_words(header: str) -> frozenset[str]:
    """The words of a header as they stand, without those that say nothing."""
    return frozenset(words_of(header)) - _EMPTY


def only_known(header: str) -> bool:
    """Whether a header is made of known words and nothing else, so that it can hardly be a value."""
    if re.search(r"[0-9]", header):
        return False
    rest = header
    for word, _ in _CHINESE:
        rest = rest.replace(word, " ")
    rest = re.sub(f"[{_COMMON}]", " ", rest)
    if not rest.isascii():
        return False
    words = words_of(rest)
    return all(word in _ENGLISH or word in _EMPTY or meaning_of(word) is not None for word in words)


def bare(name: str) -> str:
    """A name without capitals, spaces and separators."""
    return re.sub(r"[\W_]+", "", name).casefold()
