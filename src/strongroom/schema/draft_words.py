"""Words of column headers, in English and Chinese, and what they say about a column.

A header is split into words at case changes and at what is no letter; English words are looked up one by one and as
neighbours joined by "_" (so `email_address` beats `address`), Chinese words wherever they stand in the header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a header says: the kind of value, the class, and the mask."""

    kind: str
    klass: str
    mask: str | None = None


_MEANINGS: tuple[tuple[Meaning, str, str], ...] = (
    (
        Meaning("ethnicity", "sensitive"),
        "ethnicity ethnic race nationality_group ethnic_group tribe caste",
        "民族 种族 族别",
    ),
    (Meaning("religion", "sensitive"), "religion religious faith belief denomination church", "宗教 信仰 教派"),
    (
        Meaning("health", "sensitive"),
        (
            "health medical diagnosis disease illness disability blood_type medication treatment "
            "symptom symptoms allergy "
            "allergies vaccine vaccination hiv pregnancy pregnant icd icd10 patient_history "
            "insurance_claim mental"
        ),
        "健康 疾病 诊断 病史 病历 残疾 血型 用药 症状 过敏 疫苗 传染病 怀孕 核酸",
    ),
    (
        Meaning("criminal", "sensitive"),
        (
            "criminal crime conviction convictions offence offense charge charges arrest arrests "
            "verdict sentence prison "
            "probation suspect suspicion"
        ),
        "犯罪 前科 罪名 案由 判决 刑期 刑事 嫌疑 违法 拘留 逮捕 吸毒",
    ),
    (
        Meaning("political views", "sensitive"),
        "party political politics political_party party_member",
        "政治面貌 党派 党员 政治",
    ),
    (Meaning("union membership", "sensitive"), "union trade_union union_member", "工会"),
    (Meaning("sexual life", "sensitive"), "sexual sexuality sexual_orientation sex_life orientation", "性取向 性生活"),
    (
        Meaning("biometrics", "sensitive"),
        (
            "biometric biometrics fingerprint fingerprints iris face_id faceprint face_embedding "
            "voiceprint dna genome genetic"
        ),
        "指纹 虹膜 人脸 声纹 基因 生物特征",
    ),
    (
        Meaning("resident identity number", "identity", "last4"),
        (
            "id_card idcard id_number identity_number national_id resident_id identity_card "
            "citizen_id ssn social_security "
            "social_security_number nin sfz sfzh"
        ),
        "身份证 公民身份 证件号 证件号码 社保号 社会保障号",
    ),
    (Meaning("passport", "identity", "last4"), "passport passport_no passport_number", "护照"),
    (
        Meaning("card or account", "identity", "last4"),
        "iban card_number credit_card bank_account account_number",
        "银行卡 卡号 账号 帐号",
    ),
    (Meaning("e-mail", "contact", "email"), "email e_mail mail email_address", "邮箱 电子邮件 电邮"),
    (
        Meaning("phone", "contact", "last4"),
        "phone mobile tel telephone cell cellphone phone_number mobile_number fax msisdn whatsapp",
        "手机 电话 联系方式 传真",
    ),
    (
        Meaning("address", "contact"),
        (
            "address street addr home_address house suite building office postcode zip zipcode "
            "zip_code postal postal_code "
            "latitude longitude lat lon lng geo location gps"
        ),
        "地址 住址 街道 门牌 邮编 住所 经度 纬度 定位 户籍地",
    ),
    (
        Meaning("online contact", "contact"),
        "url website homepage contact_form wechat weixin qq twitter facebook instagram youtube telegram ip ip_address",
        "微信 网址 主页 微博",
    ),
    (
        Meaning("date of birth", "identity", "year"),
        "birth birthday birthdate birth_date date_of_birth dob born birth_day",
        "出生 生日",
    ),
    (
        Meaning("name", "identity", "first1"),
        (
            "name surname firstname lastname first_name last_name middle_name full_name given_name "
            "family_name fullname "
            "maiden_name nickname alias"
        ),
        "姓名 名字 姓 曾用名 昵称",
    ),
    (Meaning("sex", "identity"), "sex gender", "性别"),
    (Meaning("education", "identity"), "education degree school university", "学历 教育 文化程度 学位 毕业"),
    (
        Meaning("family", "identity"),
        "marital married marital_status spouse household mother father",
        "婚姻 配偶 户号 父亲 母亲",
    ),
    (
        Meaning("work", "identity"),
        "occupation job employer company salary income profession",
        "职业 工作单位 单位 收入 工资",
    ),
    (
        Meaning("few values", "open"),
        (
            "status state type kind category chamber source channel currency region province country "
            "district city_code "
            "level grade lang language"
        ),
        "状态 类型 类别 来源 渠道 币种 省份 地区 级别",
    ),
    (
        Meaning("time or amount", "open"),
        (
            "created updated modified created_at updated_at sent_at timestamp start end count amount "
            "total quantity price "
            "number_of year month date time"
        ),
        "创建时间 更新时间 录入时间 时间 日期 数量 金额 年份",
    ),
)

_SUBJECT_WORDS = """
    id person_id customer_id user_id client_id patient_id member_id employee_id account_id subject subject_id
    person customer user uid uuid guid pid bioguide no number code key
"""
_SUBJECT_CHINESE = ("编号", "人员编号", "序号", "客户号", "用户号", "会员号", "工号", "学号")
_SUBJECT_ENGLISH = frozenset(_SUBJECT_WORDS.split())

_SENSITIVE_TABLE_WORDS = """
    crime crimes criminal case cases offence offences offense offenses police report reports arrest arrests
    medical health patient patients diagnosis diagnoses prescription prescriptions biometric biometrics
"""
_SENSITIVE_TABLES_CHINESE = ("案件", "犯罪", "警情", "报警", "病历", "诊断", "健康", "就诊", "刑事")
_SENSITIVE_TABLES_ENGLISH = frozenset(_SENSITIVE_TABLE_WORDS.split())

_ENGLISH = {word: meaning for meaning, english, _ in _MEANINGS for word in english.split()}
_CHINESE = [(word, meaning) for meaning, _, chinese in _MEANINGS for word in chinese.split()]
_SPLIT = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
_JOIN_MAX = 3


def words_of(header: str) -> list[str]:
    """The words of a header, in lower case."""
    return [word.casefold() for word in _SPLIT.findall(header)]


def meaning_of(header: str) -> Meaning | None:
    """What a header says, by its longest known phrase; of equals the one listed first, the more sensitive."""
    words = words_of(header)
    phrases = [
        "_".join(words[i : i + n]) for n in range(_JOIN_MAX, 0, -1) for i in range(len(words) - n + 1)
    ]  # fmt: skip
    best: tuple[int, int, Meaning] | None = None
    order = {id(meaning): at for at, (meaning, _, _) in enumerate(_MEANINGS)}
    found = [(phrase.count("_") + 1, _ENGLISH[phrase]) for phrase in phrases if phrase in _ENGLISH]
    found += [(len(word), meaning) for word, meaning in _CHINESE if word in header]
    for length, meaning in found:
        rank = (length, -order[id(meaning)])
        if best is None or rank > best[:2]:
            best = (*rank, meaning)
    sensitive = [meaning for _, meaning in found if meaning.klass == "sensitive"]
    if best is not None and sensitive and best[2].klass not in {"sensitive", "contact"}:
        return sensitive[0]
    return best[2] if best is not None else None


def sounds_like_subject(header: str) -> bool:
    """Whether a header names whom a record is about by a number or code."""
    words = words_of(header)
    joined = {"_".join(words), *(words[-1:])}
    return bool(joined & _SUBJECT_ENGLISH) or any(word in header for word in _SUBJECT_CHINESE)


def sounds_sensitive(table: str) -> bool:
    """Whether a table's name says that being in it is sensitive."""
    english = bool(set(words_of(table)) & _SENSITIVE_TABLES_ENGLISH)
    return english or any(word in table for word in _SENSITIVE_TABLES_CHINESE)
