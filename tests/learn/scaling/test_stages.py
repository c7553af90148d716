from effmed.learn.scaling import stages


def test_the_base_table_scales_to_itself():
    assert stages.B0.scaled(width=1.0, depth=1.0) == stages.B0


def test_b7_has_the_published_channels_and_layers():
    b7 = stages.B0.scaled(width=2.0, depth=3.1)
    assert [stage.channels for stage in b7.stages] == [32, 48, 80, 160, 224, 384, 640]
    assert [stage.layers for stage in b7.stages] == [4, 7, 7, 10, 10, 13, 4]
    assert (b7.stem, b7.head) == (64, 2560)


def test_lite_keeps_stem_head_and_the_layers_of_its_outer_stages():
    lite4 = stages.LITE0.scaled(width=1.4, depth=1.8)
    assert (lite4.stem, lite4.head) == (32, 1280)
    assert [stage.layers for stage in lite4.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert [stage.channels for stage in lite4.stages] == [24, 32, 56, 112, 160, 272, 448]


def test_lite_has_no_squeeze_and_excitation_and_is_b0_otherwise():
    assert {stage.squeeze for stage in stages.LITE0.stages} == {0.0}
    assert [(s.operator, s.channels) for s in stages.LITE0.stages] == [
        (s.operator, s.channels) for s in stages.B0.stages
    ]


def test_v2_squeezes_in_its_late_stages_only():
    for table in (stages.V2_B0, stages.V2_S, stages.V2_M, stages.V2_L, stages.V2_XL):
        assert [stage.squeeze > 0 for stage in table.stages] == [s.operator == "MBConv" for s in table.stages]


def test_v2_rounds_without_a_lower_bound():
    assert stages.V2_B0.scaled(width=1.2, depth=1.4).stages[0].channels == 16
    assert stages.B0.scaled(width=1.2, depth=1.4).stages[0].channels == 24
