"""What happened in the made-up city: parcels, reports to the police, charges. All of it is invented."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from strongroom.demo.columns import join, pick

COURIERS = {"顺丰": 22.0, "中通": 24.0, "圆通": 17.0, "韵达": 15.0, "申通": 11.0, "邮政": 11.0}
COURIER_LETTERS = {"顺丰": "SF", "中通": "ZT", "圆通": "YT", "韵达": "YD", "申通": "ST", "邮政": "EM"}

_FOR = ("男士", "女士", "儿童", "家用", "便携", "智能", "进口", "特价")
_GOODS = (
    "羽绒服", "保温杯", "手机壳", "台灯", "图书", "奶粉", "运动鞋", "降压药", "生鲜水果", "电饭煲", "血糖试纸", "耳机", "助听器",
    "茶叶", "蓝牙音箱", "孕妇装", "拉杆箱", "雨伞",
)  # fmt: skip
_PACKING = ("一件", "两件装", "礼盒", "（易碎）", "红色 L 码", "蓝色 M 码")

_WHEN = ("昨日上午", "昨日晚间", "前日下班途中", "上周六", "今日凌晨", "今日中午")
_WHERE = (
    "小区门口", "地铁站出口", "菜市场", "公交车上", "某商场三楼", "公司停车场", "网吧内", "医院候诊区", "自家楼道", "河边步道", "夜市摊位",
    "学校附近",
)  # fmt: skip
_LOST = ("电动自行车一辆", "手机一部", "钱包一个", "笔记本电脑一台", "金项链一条", "背包一个", "身份证及银行卡若干")
_QUARREL = ("停车位", "噪音", "房屋漏水", "宠物伤人", "拖欠工资", "债务", "家庭琐事", "装修垃圾堆放")
_FRAUD = ("冒充客服退款", "刷单返利", "虚假投资理财", "冒充公检法", "网络交友", "游戏账号交易", "虚假贷款")

ROLES = {"报案人": 62.0, "证人": 20.0, "被害人": 11.0, "嫌疑人": 7.0}

CHARGES = {
    "盗窃罪": 27.0, "危险驾驶罪": 28.0, "诈骗罪": 14.0, "故意伤害罪": 9.0, "寻衅滋事罪": 7.0, "帮助信息网络犯罪活动罪": 8.0,
    "开设赌场罪": 4.0, "非法拘禁罪": 1.5, "职务侵占罪": 1.5,
}  # fmt: skip
STATUSES = {"立案侦查": 30.0, "移送起诉": 18.0, "审理中": 14.0, "已判决": 30.0, "撤销案件": 5.0, "不起诉": 3.0}


def goods(rng: np.random.Generator, n: int) -> pa.Array:
    """What a parcel holds, n times."""
    return pick(rng, [a + b + c for a in _FOR for b in _GOODS for c in _PACKING], n)


@dataclass(frozen=True)
class _Stories:
    before: pa.Array
    after: pa.Array


@cache
def _stories() -> _Stories:
    """Two halves of every kind of report; the person's number and a sum stand between them."""
    before: list[str] = []
    after: list[str] = []
    for when in _WHEN:
        for where in _WHERE:
            for what in _LOST:
                before.append(f"当事人称{when}在{where}发现{what}被盗，已查看周边监控。联系电话")
                after.append("元。民警已登记并开具回执。")
        for about in _QUARREL:
            before.append(f"当事人称{when}因{about}与他人发生争执，双方有推搡，无明显外伤。联系电话")
            after.append("元。经现场调解，双方自行协商。")
        for how in _FRAUD:
            before.append(f"当事人称{when}遭遇{how}，通过手机银行分多笔转账。联系电话")
            after.append("元。已协助申请止付，材料移交反诈中心。")
    return _Stories(pa.array(before), pa.array(after))


def reports(rng: np.random.Generator, mobile: pa.Array) -> pa.Array:
    """The text of a report per person, given their mobile numbers."""
    stories = _stories()
    n = len(mobile)
    which = pa.array(rng.integers(0, len(stories.before), n, dtype=np.int32))
    sums = [f"，涉及金额约{100 * k}" for k in range(1, 300)]
    return join(stories.before.take(which), mobile, pick(rng, sums, n), stories.after.take(which))
