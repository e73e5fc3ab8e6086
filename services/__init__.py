"""One image goes in one direction; each stage knows nothing of the stages beside it.

    request ─▶ web ─▶ images.source ─▶ images.decode ─▶ captioning.batcher ─▶ captioner ─▶ emoji.mapper ─▶ web
               Flask   url│file│bytes   bytes → RGB      bounded queue         torch       caption → pairs

`services.pipeline` is this drawing as code; `services.errors` is all that the stages share.
"""
