"""Makes the stored references that image preprocessing is tested against.

Run with transformers 5.23, Pillow 13, NumPy and safetensors installed, from anywhere:

    python make_images.py

It writes into `images/` beside itself: image files; processors.json (settings as in preprocessor_config.json, and the
size of the network); pixels.safetensors (`FILE/PROCESSOR`: pixel values that transformers' class with the backend "pil"
makes of the file, `resize/RESAMPLE/HEIGHTxWIDTH`: levels that Pillow's resize makes of rgb.png); reference.json (for
each file the shortest beginning of it that Pillow loads; the sizes that `size` gives to images).
"""

import io
import json
import pathlib
import struct
import zlib

import numpy as np
import transformers
from PIL import Image, ImageOps, PngImagePlugin
from safetensors.numpy import save_file
from transformers.image_transforms import get_resize_output_image_size, get_size_with_aspect_ratio
from transformers.image_utils import get_image_size_for_max_height_width, load_image

HERE = pathlib.Path(__file__).parent / "images"
NETWORK = {"size": [12, 10], "channels": 3}
HALF = [0.5, 0.5, 0.5]
PROCESSORS = {
    "exact": {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 10}, "resample": 2,
        "do_normalize": True, "image_mean": HALF, "image_std": HALF,
    },
    "clip": {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 14},
        "crop_size": {"height": 12, "width": 10},
    },
    "padded": {
        "image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 9, "longest_edge": 11}, "resample": 1,
        "do_center_crop": True, "crop_size": [12, 10], "rescale_factor": 0.00784313725490196, "do_normalize": False,
    },
    "within": {
        "image_processor_type": "DeiTImageProcessor", "size": {"max_height": 19, "max_width": 23}, "resample": 5,
        "crop_size": {"height": 12, "width": 10}, "do_rescale": False, "image_mean": [120.5, 110.0, 99.9],
        "image_std": [60.0, 61.5, 70.25],
    },
    "grey": {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 10}, "resample": 0,
        "image_mean": [0.1307], "image_std": [0.3081],
    },
}
# Some in which columns are resized first, [11, 28] just not.
RESIZED = [[20, 31], [29, 11], [7, 5], [41, 60], [1, 1], [8, 33], [11, 50], [11, 28], [10, 28]]


def photo(width, height, seed):
    """Soft spots of colour with a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    pixels = 128 + random.normal(0, 5, (height, width, 3))
    for _ in range(12):
        at, spread = random.uniform(0, 1, 2) * [width, height], random.uniform(3, width / 2)
        distance = (x - at[0]) ** 2 + (y - at[1]) ** 2
        pixels += np.exp(-distance / (2 * spread**2))[..., None] * random.uniform(-120, 120, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def exif(orientation, big=False):
    end = ">" if big else "<"
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(end + "I", 8)
    return head + struct.pack(end + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def xmp(orientation):
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="{orientation}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def moved_to_end(png, kind):
    """A PNG file whose chunk of a kind stands behind its pixels."""
    chunks, at = [], 8
    while at < len(png):
        length = 12 + struct.unpack(">I", png[at : at + 4])[0]
        chunks.append(png[at : at + length])
        at += length
    chunks.sort(key=lambda chunk: (chunk[4:8] == b"IEND") * 2 + (chunk[4:8] == kind))
    return png[:8] + b"".join(chunks)


def files():
    def encoded(image, form, **options):
        file = io.BytesIO()
        image.save(file, form, **options)
        return file.getvalue()

    first, second = photo(37, 29, 1), photo(30, 41, 2)
    alpha = photo(33, 27, 3).convert("RGBA")
    alpha.putalpha(photo(33, 27, 4).convert("L"))
    deep = np.asarray(photo(31, 26, 5).convert("L")).astype(np.uint16)
    deep[:, 15:] *= 200
    key = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", int(deep[0, 0]))
    key += struct.pack(">I", zlib.crc32(key[4:]))
    deep_file = encoded(Image.fromarray(deep), "PNG")
    text = PngImagePlugin.PngInfo()
    profile = exif(3).hex()
    text.add_text("Raw profile type exif", f"\nexif\n{len(profile) // 2:8}\n{profile}\n", zip=True)
    palette = first.quantize(19)
    # A frame within a larger canvas.
    corner = bytearray(encoded(palette, "GIF", transparency=4, save_all=True, append_images=[photo(37, 29, 6).quantize(9)]))
    corner[6:10] = struct.pack("<HH", 44, 40)
    frame = corner.index(b"\x21\xf9\x04") + 8
    assert corner[frame] == ord(",")
    corner[frame + 1 : frame + 5] = struct.pack("<HH", 3, 7)
    return {
        "rgb.png": encoded(first, "PNG"),
        "transparent-palette.png": encoded(palette, "PNG", transparency=3),
        "alpha-exif6-last.png": moved_to_end(encoded(alpha, "PNG", exif=exif(6)), b"eXIf"),
        "deep-grey-keyed.png": deep_file[:33] + key + deep_file[33:],
        "one-bit-profile3.png": encoded(second.convert("1"), "PNG", pnginfo=text),
        "photo.jpg": encoded(second, "JPEG", quality=85),
        "progressive-exif5.jpg": encoded(first, "JPEG", quality=90, progressive=True, exif=b"Exif\0\0" + exif(5, True)),
        "cmyk-xmp8.jpg": encoded(second.convert("CMYK"), "JPEG", quality=90, xmp=xmp(8)),
        "alpha-exif7.webp": encoded(alpha, "WEBP", quality=80, exif=b"Exif\0\0" + exif(7)),
        "lossless-xmp2.webp": encoded(first, "WEBP", lossless=True, xmp=xmp(2)),
        "corner.gif": bytes(corner),
        "palette.bmp": encoded(palette, "BMP"),
    }


def pixel_values(path, settings):
    processor = getattr(transformers, settings["image_processor_type"] + "Pil")(**settings)
    image = load_image(str(path))
    if len(settings.get("image_mean", HALF)) == 1:
        image = ImageOps.exif_transpose(Image.open(path)).convert("L")
    values = processor(image, return_tensors="np")["pixel_values"][0].astype(np.float32)
    assert list(values.shape[1:]) == NETWORK["size"], (path, values.shape)
    return np.ascontiguousarray(values)


def loads(file):
    try:
        ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
        return True
    except Exception:
        return False


def resized_sizes():
    """Sizes of images, and what they become."""
    random = np.random.default_rng(7)
    images = [[1, 1], [1, 300], [500, 3], [224, 224], [375, 500], [500, 375], [1000, 999]]
    images += random.integers(1, 2000, (40, 2)).tolist()
    found = []
    for height, width in images:
        pixels = np.broadcast_to(np.uint8(0), (3, height, width))
        for edge, longest in [(224, None), (7, None), (224, 400), (800, 1333), (33, 34)]:
            if longest is None:
                size = {"shortest_edge": edge}
                to = get_resize_output_image_size(pixels, edge, default_to_square=False, input_data_format="channels_first")
            else:
                size = {"shortest_edge": edge, "longest_edge": longest}
                to = get_size_with_aspect_ratio((height, width), edge, longest)
            found.append({"size": size, "image": [height, width], "becomes": list(to)})
        for most in [(224, 300), (31, 17)]:
            size = {"max_height": most[0], "max_width": most[1]}
            to = get_image_size_for_max_height_width((height, width), *most)
            found.append({"size": size, "image": [height, width], "becomes": list(to)})
    return found


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    pixels, whole_from = {}, {}
    for name, file in files().items():
        (HERE / name).write_bytes(file)
        whole_from[name] = min(length for length in range(len(file) + 1) if loads(file[:length]))
        for processor, settings in PROCESSORS.items():
            pixels[f"{name}/{processor}"] = pixel_values(HERE / name, settings)
    image = load_image(str(HERE / "rgb.png"))
    for resample in range(6):
        for height, width in RESIZED:
            levels = np.array(image.resize((width, height), resample=resample))
            pixels[f"resize/{resample}/{height}x{width}"] = np.ascontiguousarray(levels)
    save_file(pixels, HERE / "pixels.safetensors")
    (HERE / "processors.json").write_text(json.dumps({"network": NETWORK, "processors": PROCESSORS}, indent=1) + "\n")
    reference = {"whole_from": whole_from, "sizes": resized_sizes()}
    (HERE / "reference.json").write_text(json.dumps(reference) + "\n")
