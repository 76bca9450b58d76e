"""What drafts under Article 57 of the PIPL say, in English and in Chinese: the same in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """The fixed words of a draft in one language; `…_missing` names what a blank is for."""

    persons_title: str
    authority_title: str
    about: str
    handler: str
    handler_missing: str
    to: str
    to_missing: str
    aware: str
    aware_missing: str
    traced_at: str
    at_once: str
    happened: str
    happened_missing: str
    sender: str
    stop: str
    taken: str
    scope: str
    number: str
    number_missing: str
    minors: str
    in_exports: str
    records: str
    kinds: str
    kinds_some: str
    causes: str
    causes_missing: str
    harm: str
    harm_missing: str
    measures: str
    measures_missing: str
    advice: str
    advice_missing: str
    contact: str
    contact_missing: str
    traced: str
    export: str
    received: str
    copy_only: str
    nobody: str


EN = Phrases(
    persons_title="A notice about your personal information",
    authority_title="Notification of a leak of personal information (PIPL Article 57)",
    about="About this notification",
    handler="Personal information handler",
    handler_missing="the handler's name",
    to="To",
    to_missing="the department that protects personal information",
    aware="Leak noticed",
    aware_missing="when the leak was noticed",
    traced_at="Trace of the published sample ended",
    at_once="Article 57 asks for notification at once. Other rules, unknown to this draft, may set shorter times.",
    happened="What happened",
    happened_missing="what happened, in plain words",
    sender="This is from ",
    stop=".",
    taken="The data was taken between {} and {}.",
    scope="How many are concerned",
    number="Persons in the sample, about",
    number_missing="approximate number of persons",
    minors="Under age among them, about",
    in_exports="Persons in the copies named, altogether, about",
    records="Records in the sample, about",
    kinds="Kinds of personal information",
    kinds_some="The published records have these kinds. Of a single person they may have only some of them.",
    causes="Causes",
    causes_missing="causes of the leak, as far as known",
    harm="Possible harm",
    harm_missing="possible harm",
    measures="Remedial measures taken, and planned",
    measures_missing="remedial measures taken",
    advice="What individuals can do to reduce harm",
    advice_missing="what individuals can do to reduce harm",
    contact="How to reach us",
    contact_missing="contact details of the handler",
    traced="Where the sample came from",
    export="Rows came from the copy that is export ",
    received=", received by ",
    copy_only="This says which copy rows came from, not that its recipient published them.",
    nobody="No copy is named: the evidence does not reach the bound. That says nothing about any recipient.",
)

ZH = Phrases(
    persons_title="关于您个人信息的通知",
    authority_title="个人信息泄露事件报告（《个人信息保护法》第五十七条）",
    about="基本情况",
    handler="个人信息处理者",
    handler_missing="处理者名称",
    to="报送部门",
    to_missing="履行个人信息保护职责的部门",
    aware="发现泄露的时间",
    aware_missing="发现泄露的时间",
    traced_at="对公开样本的核对完成时间",
    at_once="第五十七条要求立即通知。其他规定可能要求更短的时限，本草稿不作判断。",
    happened="发生了什么",
    happened_missing="事件经过（通俗表述）",
    sender="本通知由以下处理者发出：",
    stop="。",
    taken="数据取得时间在 {} 至 {} 之间。",
    scope="涉及范围",
    number="样本涉及人数（约）",
    number_missing="涉及人数（约数）",
    minors="其中未成年人（约）",
    in_exports="已指明副本所含总人数（约）",
    records="样本涉及记录条数（约）",
    kinds="发生泄露的个人信息种类",
    kinds_some="公开的记录含有下列种类的信息；就某一个人而言，可能只含其中一部分。",
    causes="原因",
    causes_missing="已知的泄露原因",
    harm="可能造成的危害",
    harm_missing="可能造成的危害",
    measures="已采取和拟采取的补救措施",
    measures_missing="已采取的补救措施",
    advice="个人可以采取的减轻危害的措施",
    advice_missing="个人可以采取的减轻危害的措施",
    contact="联系方式",
    contact_missing="处理者的联系方式",
    traced="样本来源",
    export="样本中的行来自编号为 ",
    received=" 的导出副本，接收方为",
    copy_only="以上仅说明来自哪一份副本，并不表明是该接收方公开的。",
    nobody="未指明任何副本：证据未达到界限。这不说明任何接收方的情况。",
)

PHRASES: Mapping[str, Phrases] = {"en": EN, "zh": ZH}
