// SPDX-License-Identifier: MPL-2.0
//! Log-mel spectrogram as Whisper defines it (openai/whisper `audio.py`), computed as audio arrives.
